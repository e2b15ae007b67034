//! The Redis scripts, with their arguments and results.

use std::sync::LazyLock;

use deadpool_redis::redis::{Cmd, FromRedisValue, Script, Value, cmd};

use super::super::{
    Key, Quota,
    lease::{BucketResponse, Unused},
    quota::Kind,
};

/// Takes cost from several buckets.
pub(super) static DECIDE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("decide.lua")));
/// Returns cost to one bucket.
pub(super) static RETURN: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("return.lua")));

/// A script and its hash.
pub(super) struct Source {
    text: &'static str,
    hash: String,
}

impl Source {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// The command that runs the script by its hash, or with its text, which loads it.
    pub(super) fn command(&self, call: &Call, with_text: bool) -> Cmd {
        let mut command = cmd(if with_text { "EVAL" } else { "EVALSHA" });
        command.arg(if with_text { self.text } else { &self.hash });
        command.arg(call.names.len()).arg(&call.names).arg(&call.member).arg(&call.numbers);
        command
    }
}

/// The arguments of one run.
#[derive(Debug, Default)]
pub(super) struct Call {
    names: Vec<String>,
    /// Precedes the numbers in scripts that need it.
    member: Option<String>,
    numbers: Vec<i64>,
}

impl Call {
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
pub(super) fn name(scope: &str, key: &Key) -> String {
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
