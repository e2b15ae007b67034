//! Base32 without padding (RFC 4648, section 6): what people can type.

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The bytes in base32. The last character has zero bits after the last byte.
pub(super) fn encode(bytes: &[u8]) -> String {
    let bit = |n: usize| bytes.get(n / 8).is_some_and(|byte| byte >> (7 - n % 8) & 1 == 1);
    let digit = |first: usize| (first..first + 5).fold(0, |digit, n| digit << 1 | usize::from(bit(n)));
    (0..bytes.len() * 8).step_by(5).map(|first| char::from(ALPHABET[digit(first)])).collect()
}

/// The bytes of a text in base32, in either case. `None`: it is another text.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer, mut bits) = (Vec::with_capacity(text.len() * 5 / 8), 0_u32, 0);
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte.to_ascii_uppercase())?;
        buffer = buffer << 5 | u32::try_from(digit).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits).ok()?);
            buffer &= (1 << bits) - 1;
        }
    }
    (buffer == 0 && bits < 5).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10, without the padding.
    #[test]
    fn texts_are_those_of_the_standard() {
        let vectors = [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
            assert_eq!(decode(&text.to_lowercase()).unwrap(), bytes.as_bytes());
        }
        for text in ["1", "M", "MZ", "MZX", "M=", "ä"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
