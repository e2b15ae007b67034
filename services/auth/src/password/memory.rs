//! How many hashes run at once: each needs much memory.

use std::thread::available_parallelism;

use super::{Stored, Unusable};
use crate::config::Argon2Config;

/// Hashes use at most this fraction (one half) of the memory limit.
const SHARE_OF_MEMORY: u64 = 2;
/// The largest memory of a stored hash without a memory limit: 2 GiB, the first recommendation of RFC 9106, section 4.
const LARGEST_KIB: u64 = 2 << 20;

/// The threads and the memory of hashes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Hashes of the configured cost that run at once.
    pub(super) threads: usize,
    /// The memory of a hash of the configured cost, in KiB.
    unit_kib: u64,
    /// The largest memory of one stored hash, in KiB.
    most_kib: u64,
}

impl Memory {
    /// `threads` hashes at once; 0: one per core of the CPU quota, as far as their hashes fit into the memory limit.
    pub(crate) fn here(threads: usize, cost: Argon2Config) -> Self {
        let limit = kit::machine::memory_limit().map(|bytes| bytes / SHARE_OF_MEMORY / 1_024);
        let cores = available_parallelism().map_or(1, usize::from);
        Self::new(threads, cores, limit, u64::from(cost.memory_kib))
    }

    fn new(threads: usize, cores: usize, limit_kib: Option<u64>, unit_kib: u64) -> Self {
        let fit = limit_kib.map_or(usize::MAX, |kib| usize::try_from(kib / unit_kib).unwrap_or(usize::MAX));
        let threads = if threads == 0 { cores.min(fit).max(1) } else { threads };
        let most_kib = limit_kib.unwrap_or(LARGEST_KIB).clamp(unit_kib, LARGEST_KIB);
        Self { threads, unit_kib, most_kib }
    }

    /// Checks the text of a hash of another program: its format, and what its verification takes. It must need no secret.
    pub(crate) fn check(&self, hash: &str) -> Result<(), Unusable> {
        let stored = Stored::parse(hash)?;
        match stored.pepper() {
            Some(id) => Err(Unusable::NoPepper(id.to_owned())),
            None => self.admit(&stored),
        }
    }

    /// Refuses a stored hash that does not fit into the memory.
    pub(super) fn admit(&self, stored: &Stored) -> Result<(), Unusable> {
        let memory = stored.cost().memory_kib;
        if memory <= self.most_kib { Ok(()) } else { Err(Unusable::TooLarge(memory >> 10, self.most_kib >> 10)) }
    }

    /// How many places a stored hash takes: together they have its memory. One that needs more than all runs alone.
    pub(super) fn places(&self, stored: &Stored) -> u32 {
        let places = stored.cost().memory_kib.div_ceil(self.unit_kib).max(1);
        u32::try_from(places.min(self.threads as u64)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_threads_fit_into_the_memory_limit() {
        let threads = |cores, mib: Option<u64>| Memory::new(0, cores, mib.map(|mib| mib * 512), 19_456).threads;
        // 32 cores under the 512 MiB of the pod: 13 hashes take 247 MiB.
        assert_eq!(threads(32, Some(512)), 13);
        assert_eq!(threads(4, Some(512)), 4);
        assert_eq!(threads(32, None), 32);
        assert_eq!(threads(8, Some(16)), 1);
        assert_eq!(Memory::new(5, 32, Some(1_024), 19_456).threads, 5);
        assert_eq!(Memory::new(0, 32, Some(256 << 10), 64 << 10).threads, 4, "hashes of another cost");
    }

    #[test]
    fn larger_hash_takes_the_places_of_its_memory() {
        let memory = Memory::new(0, 32, Some(256 << 10), 19_456);
        let of = |mib: u64| {
            let kib = mib << 10;
            Stored::parse(&format!("$argon2id$v=19$m={kib},t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b3dWRfJTmaaJObG"))
                .unwrap()
        };
        assert_eq!([1, 19, 20, 64, 256].map(|mib| memory.places(&of(mib))), [1, 1, 2, 4, 13]);
        assert_eq!(memory.admit(&of(256)), Ok(()));
        assert_eq!(memory.admit(&of(257)), Err(Unusable::TooLarge(257, 256)));
        assert_eq!(Memory::new(2, 32, None, 19_456).places(&of(2_048)), 2);
    }
}
