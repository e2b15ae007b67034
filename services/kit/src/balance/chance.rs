//! Cheap chance for choices that nobody gains by guessing: no system call and no lock.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// A sequence of numbers (SplitMix64), shared by threads.
pub struct Chance(AtomicU64);

/// 2^64 divided by the golden ratio: steps of it visit all numbers, far from one another.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Chance {
    /// Another sequence in each process.
    pub fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(STEP))
    }

    /// The sequence of a seed, so that a test can repeat it.
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

    /// One of `0..n`; 0 for an empty range.
    pub fn below(&self, n: usize) -> usize {
        // The high half of the product: a bias of n in 2^64.
        let product = u128::from(self.next()) * n as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Evenly from 0 to 1.
    pub fn share(&self) -> f64 {
        // 53 bits are what an f64 holds.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let numerator = (self.next() >> 11) as f64;
        numerator / (1_u64 << 53) as f64
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
