//! The fuzz target for the conversion between JSON and protobuf. The first byte of the input selects the direction.

#![no_main]

#[path = "../../transcode/tests/transcode/properties.rs"]
mod properties;
#[path = "../../transcode/tests/transcode/support.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod support;

use libfuzzer_sys::fuzz_target;
use properties::PROPERTIES;

fuzz_target!(|data: &[u8]| {
    if let Some((choice, rest)) = data.split_first() {
        let (_, property) = PROPERTIES[usize::from(*choice) % PROPERTIES.len()];
        property(rest);
    }
});
