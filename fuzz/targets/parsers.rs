//! One fuzz target for all parsers. The first byte of the input selects the parser.

#![no_main]

use gateway::fuzz::FUZZ_TARGETS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((choice, rest)) = data.split_first() {
        let (_, target) = FUZZ_TARGETS[usize::from(*choice) % FUZZ_TARGETS.len()];
        target(rest);
    }
});
