//! The Redis scripts, with their arguments and results.

use std::sync::LazyLock;

use deadpool_redis::redis::{Cmd, FromRedisValue, Script, Value, cmd};

use super::super::{
    BucketKey, Quota,
    lease::{BucketResponse, Unused},
    quota::Kind,
};

/// Takes cost from several buckets.
pub(super) static DECIDE: LazyLock<LuaScript> = LazyLock::new(|| LuaScript::new(include_str!("decide.lua")));
/// Returns cost to one bucket.
pub(super) static RETURN: LazyLock<LuaScript> = LazyLock::new(|| LuaScript::new(include_str!("return.lua")));

/// A script and its hash.
pub(super) struct LuaScript {
    text: &'static str,
    hash: String,
}

impl LuaScript {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// The command that runs the script by its hash, or with its text, which loads it.
    pub(super) fn command(&self, call: &ScriptCall, with_text: bool) -> Cmd {
        let mut command = cmd(if with_text { "EVAL" } else { "EVALSHA" });
        command.arg(if with_text { self.text } else { &self.hash });
        command.arg(call.names.len()).arg(&call.names).arg(&call.member).arg(&call.numbers);
        command
    }
}

/// The arguments of one run.
#[derive(Debug, Default)]
pub(super) struct ScriptCall {
    names: Vec<String>,
    /// Precedes the numbers in scripts that need it.
    member: Option<String>,
    numbers: Vec<i64>,
}

impl ScriptCall {
    /// Adds a bucket: the cost of one call, the cost of all waiting calls, and the cost to take in advance.
    pub(super) fn take(mut self, name: String, quota: &Quota, [cost, due, ahead]: [u32; 3]) -> Self {
        let rule = match quota.kind() {
            Kind::Rate => [0, quota.interval(), quota.depth()],
            Kind::Count => [1, i64::from(quota.requests()), quota.period_micros()],
        };
        self.names.push(name);
        self.numbers.extend(rule);
        self.numbers.extend([cost, due, ahead].map(i64::from));
        self
    }

    /// The number of streams of `member`, the maximum of all together, and for how many milliseconds the number is
    /// valid.
    pub(super) fn streams(name: String, member: &str, numbers: [i64; 3]) -> Self {
        Self { names: vec![name], member: Some(member.to_owned()), numbers: numbers.to_vec() }
    }

    /// The first number.
    #[cfg(test)]
    pub(super) fn count(&self) -> i64 {
        self.numbers[0]
    }

    /// The cost that returns to a bucket at `then`; `None` if nothing remains to return.
    pub(super) fn give_back(name: String, quota: &Quota, unused: &Unused, then: i64) -> Option<Self> {
        let numbers = match quota.kind() {
            Kind::Rate => {
                let back = i64::from(unused.cost) * quota.interval() - (then - unused.taken_at);
                (back > 0).then(|| vec![0, back])
            }
            // One second covers the budget by which `then` may be ahead, another one a difference between the clocks.
            Kind::Count => {
                let left = unused.full_at - then;
                (left > 0).then(|| vec![1, unused.cost.into(), left + 2_000_000])
            }
        };
        numbers.map(|numbers| Self { names: vec![name], member: None, numbers })
    }
}

/// The name of a bucket. The braces give all buckets of a scope one slot in a Cluster.
pub(super) fn name(scope: &str, key: &BucketKey) -> String {
    format!("trellis:{{limit:{scope}}}:{}", key.text())
}

/// The results of the script, one for each bucket.
pub(super) fn results(value: Value) -> Option<Vec<BucketResponse>> {
    let numbers = Vec::<i64>::from_redis_value(value).ok()?;
    let (buckets, rest) = numbers.as_chunks::<4>();
    let cost = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let result = |[taken, left, full_in, wait]: &[i64; 4]| BucketResponse {
        taken: cost(*taken),
        left: cost(*left),
        full_in: *full_in,
        wait: *wait,
    };
    rest.is_empty().then(|| buckets.iter().map(result).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The arguments after the script's hash.
    fn sent(call: &ScriptCall) -> String {
        let packed = LuaScript::new("return 1").command(call, false).get_packed_command();
        let text = String::from_utf8(packed).unwrap();
        // In RESP each argument follows a line with its length.
        let arguments = text.split("\r\n").filter(|part| !part.is_empty() && !part.starts_with(['*', '$']));
        arguments.skip(2).collect::<Vec<_>>().join(" ")
    }

    /// Processes of different releases share the buckets during a rolling update.
    #[test]
    fn arguments_have_their_golden_form() {
        let bucket = name("/trellis.users.v1.UsersService/GetUser", &BucketKey::new(&[b"a", b"bc"]));
        assert_eq!(bucket, "trellis:{limit:/trellis.users.v1.UsersService/GetUser}:P6-hzy8Zp8ESm-sgzwmD9w");
        let (rate, count) =
            (Quota::new(600, Duration::from_secs(60), 100), Quota::count(1_000, Duration::from_secs(3_600)));
        let take =
            ScriptCall::default().take("one".to_owned(), &rate, [1, 5, 20]).take("two".to_owned(), &count, [2, 4, 0]);
        assert_eq!(sent(&take), "2 one two 0 100000 10000000 1 5 20 1 1000 3600000000 2 4 0");
        let streams = ScriptCall::streams("streams".to_owned(), "replica", [3, 64, 30_000]);
        assert_eq!(sent(&streams), "1 streams replica 3 64 30000");
        let unused = Unused { cost: 7, taken_at: 1_000, full_at: 9_000_000 };
        let back = |quota| ScriptCall::give_back("one".to_owned(), quota, &unused, 101_000).unwrap();
        assert_eq!(sent(&back(&rate)), "1 one 0 600000");
        assert_eq!(sent(&back(&count)), "1 one 1 7 10899000");
        assert!(
            ScriptCall::give_back("one".to_owned(), &rate, &unused, 2_000_000).is_none(),
            "all of it has flowed back"
        );
    }

    #[test]
    fn result_has_four_numbers_for_each_bucket() {
        let numbers = |numbers: &[i64]| Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect());
        let response = results(numbers(&[1, 2, 3, 4])).unwrap();
        let [BucketResponse { taken: 1, left: 2, full_in: 3, wait: 4 }] = response[..] else { panic!("one bucket") };
        assert!(results(numbers(&[1, 2, 3])).is_none());
    }
}
