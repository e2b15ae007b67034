//! `bytes` values. Output is the standard alphabet with padding. Input may use both alphabets, with and without padding.

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Ignores bits behind the last byte, as protobuf does.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_SAFE_ENGINE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Appends the decoded bytes; false if the text is not base64.
pub(crate) fn decode(text: &str, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    // Nearly all writers use the standard alphabet.
    [&STANDARD_ENGINE, &URL_SAFE_ENGINE].into_iter().any(|engine| {
        out.truncate(before);
        engine.decode_vec(text, out).is_ok()
    })
}

/// Appends the encoded text.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    let encoded = STANDARD_ENGINE.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(encoded.ok(), Some(out.len() - start));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(text, &mut out).then_some(out)
    }

    #[test]
    fn both_alphabets_decode_with_and_without_padding() {
        for text in ["+/8=", "+/8", "-_8=", "-_8", "-_9"] {
            assert_eq!(decoded(text), Some(vec![0xFB, 0xFF]), "{text}");
        }
        assert_eq!(decoded(""), Some(vec![]));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["A", "====", "+_8=", "AA A", "ä", "AQI=x"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn output_is_standard_and_padded() {
        let mut out = b"x".to_vec();
        encode(&[0xFB, 0xFF], &mut out);
        assert_eq!(out, b"x+/8=");
    }
}
