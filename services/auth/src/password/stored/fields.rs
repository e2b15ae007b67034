//! The parts of hashes in text.

use argon2::password_hash::phc::Output;
use base64::{
    Engine as _,
    alphabet::{self, Alphabet},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Writers differ in the padding and in the unused bits of the last character.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Decodes base64. Some writers use `.` instead of `+`.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    with(&alphabet::STANDARD, &text.replace('.', "+"))
}

/// Decodes base64 with the alphabet of bcrypt.
pub(super) fn decode_bcrypt(text: &str) -> Option<Vec<u8>> {
    with(&alphabet::BCRYPT, text)
}

fn with(alphabet: &Alphabet, text: &str) -> Option<Vec<u8>> {
    GeneralPurpose::new(alphabet, LENIENT).decode(text).ok()
}

/// A number among parameters such as `ln=17,r=8,p=1`.
pub(super) fn number(parameters: &str, name: &str) -> Option<u32> {
    let value = parameters.split(',').find_map(|one| one.strip_prefix(name)?.strip_prefix('='))?;
    value.parse().ok()
}

/// Whether two hashes are equal, in constant time.
pub(super) fn are_equal(one: &[u8], other: &[u8]) -> bool {
    // `Output` compares in constant time. It has 10 to 64 bytes.
    matches!((Output::new(one), Output::new(other)), (Ok(one), Ok(other)) if one == other)
}
