//! One fuzz target for all parsers. The first byte of the input selects the parser.

#![no_main]

use gateway::fuzz::QUESTIONS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((choice, rest)) = data.split_first() {
        let (_, question) = QUESTIONS[usize::from(*choice) % QUESTIONS.len()];
        question(rest);
    }
});
