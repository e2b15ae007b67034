//! Reproducible randomness: a failing test prints its seed, and TRELLIS_TEST_SEED repeats it.

/// xorshift64: enough to vary a test.
pub(crate) struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the test's own setting")]
        let given = std::env::var("TRELLIS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        // 0 has no successor, so the seed is odd.
        let seed = given.unwrap_or_else(|| u64::from_be_bytes(kit::ClockAndRng::system().random())) | 1;
        Self { seed, state: seed }
    }

    pub(crate) fn any(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A number in `low..high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.any() % (high - low)
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.between(0, from.len() as u64)).expect("an index")]
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TRELLIS_TEST_SEED={} repeats it", self.seed);
        }
    }
}
