//! The scripts, and what goes into them and comes out.

use std::sync::LazyLock;

use deadpool_redis::redis::{Cmd, FromRedisValue, Script, Value, cmd};

use super::super::{
    Key, Quota,
    lease::{Answer, Unused},
    quota::Kind,
};

/// Takes from several buckets.
pub(super) static DECIDE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("decide.lua")));
/// Gives back to one.
pub(super) static RETURN: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("return.lua")));

/// A script and its hash, by which Redis knows it once it has seen it.
pub(super) struct Source {
    text: &'static str,
    hash: String,
}

impl Source {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// The command by hash, or with the whole text, which also makes the hash known.
    pub(super) fn command(&self, call: &Call, with_text: bool) -> Cmd {
        let mut command = cmd(if with_text { "EVAL" } else { "EVALSHA" });
        command.arg(if with_text { self.text } else { &self.hash });
        command.arg(call.names.len()).arg(&call.names).arg(&call.who).arg(&call.numbers);
        command
    }
}

/// The names and numbers of one run.
#[derive(Debug, Default)]
pub(super) struct Call {
    names: Vec<String>,
    /// Before the numbers, where a script asks for it.
    who: Option<String>,
    numbers: Vec<i64>,
}

impl Call {
    /// Adds a bucket to take from: what one call costs, what those cost that wait, and what would be taken ahead.
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

    /// How many streams `who` has, how many all may have, and milliseconds for which that counts.
    pub(super) fn streams(name: String, who: &str, numbers: [i64; 3]) -> Self {
        Self { names: vec![name], who: Some(who.to_owned()), numbers: numbers.to_vec() }
    }

    /// What goes back to a bucket by `then`; `None`: nothing that would count.
    pub(super) fn give_back(name: String, quota: &Quota, unused: &Unused, then: i64) -> Option<Self> {
        let numbers = match quota.kind() {
            Kind::Rate => {
                let back = i64::from(unused.cost) * quota.interval() - (then - unused.taken_at);
                (back > 0).then(|| vec![0, back])
            }
            // A second for the budget that `then` is ahead by at most, and one for a clock that runs otherwise.
            Kind::Count => {
                let left = unused.full_at - then;
                (left > 0).then(|| vec![1, unused.cost.into(), left + 2_000_000])
            }
        };
        numbers.map(|numbers| Self { names: vec![name], who: None, numbers })
    }
}

/// The name of a bucket. The braces give all buckets of a scope one slot on a Cluster.
pub(super) fn name(scope: &str, key: &Key) -> String {
    format!("trellis:{{limit:{scope}}}:{}", key.text())
}

/// What the script answered, bucket by bucket.
pub(super) fn answers(value: Value) -> Option<Vec<Answer>> {
    let numbers = Vec::<i64>::from_redis_value(value).ok()?;
    let (buckets, rest) = numbers.as_chunks::<4>();
    let cost = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let answer = |[taken, left, full_in, wait]: &[i64; 4]| Answer {
        taken: cost(*taken),
        left: cost(*left),
        full_in: *full_in,
        wait: *wait,
    };
    rest.is_empty().then(|| buckets.iter().map(answer).collect())
}
