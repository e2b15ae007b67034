//! A fast random number generator without system calls and locks. It is predictable: not for secrets.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// A sequence of random numbers (SplitMix64), shared by threads.
pub struct Rng(AtomicU64);

/// 2^64 divided by the golden ratio: steps of this size visit all numbers, far from one another.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Rng {
    /// Seeds the sequence randomly, differently in each process.
    pub fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(STEP))
    }

    /// Starts from a seed, so that a test can repeat the sequence.
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut x = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number in `0..n`; 0 for an empty range.
    pub fn below(&self, n: usize) -> usize {
        // The high half of the product: a bias of n in 2^64.
        let product = u128::from(self.next()) * n as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// A number evenly distributed between 0 and 1.
    pub fn share(&self) -> f64 {
        // An f64 holds 53 bits.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let numerator = (self.next() >> 11) as f64;
        numerator / (1_u64 << 53) as f64
    }
}

impl Default for Rng {
    fn default() -> Self {
        Self::new()
    }
}
