//! Finds the ends of tokens.

/// The bytes of a long string that are tested at once.
const BLOCK: usize = 32;

/// How many bytes at the start a JSON string may contain as they are: no quote, no backslash, no control character.
///
/// Most strings are short: the first block is tested in words of eight bytes. Of a long string the compiler tests the bytes
/// of a block at once.
#[inline]
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let head = &bytes[..bytes.len().min(BLOCK)];
    let found = plain_words(head);
    if found < BLOCK { found } else { BLOCK + plain_blocks(&bytes[BLOCK..]) }
}

fn plain_blocks(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let is_plain = |block: &&[u8; BLOCK]| {
        !block.iter().fold(false, |found, byte| found | (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20))
    };
    let at = blocks.iter().take_while(is_plain).count() * BLOCK;
    at + plain_words(&bytes[at..])
}

/// Looks at eight bytes at a time. In each expression the highest bit of a byte is set if the byte matches. A borrow can
/// set the bit of a later byte by mistake, but the first one that is set is right.
#[inline]
fn plain_words(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const QUOTES: u64 = ONES * b'"' as u64;
    const BACKSLASHES: u64 = ONES * b'\\' as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let is_control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = is_zero(word ^ QUOTES) | is_zero(word ^ BACKSLASHES) | is_control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F)).unwrap_or(rest.len())
}

/// The longest number that is read. A `double` is exact within 767 digits.
pub(super) const LONGEST_NUMBER: usize = 1024;

/// Whether the whole text is a number.
pub(crate) fn is_number(text: &str) -> bool {
    text.len() <= LONGEST_NUMBER && number(text.as_bytes()) == Some(text.len())
}

/// The value of the integer at the start, and its digits, if it has at most 18 digits and no leading zero.
#[inline(always)]
pub(super) fn short_integer(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    let mut digits = 0;
    while let Some(digit) = bytes.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value * 10 + u64::from(digit);
        digits += 1;
        if digits > 18 {
            return None;
        }
    }
    let is_valid = digits > 0 && (digits == 1 || bytes[0] != b'0');
    is_valid.then_some((value, digits))
}

/// The value and length of the number at the start if it has at most 15 digits and no exponent.
///
/// The digits and the power of ten are then exact as doubles, so that their quotient is rounded once, and right.
#[inline]
pub(super) fn short_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let (mut value, whole) = short_integer(&bytes[sign..])?;
    let mut at = sign + whole;
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        while let Some(digit) = bytes.get(at + fraction).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            if fraction + whole >= 15 {
                return None;
            }
            value = value * 10 + u64::from(digit);
            fraction += 1;
        }
        if fraction == 0 {
            return None;
        }
        at += fraction;
    }
    if whole > 15 || matches!(bytes.get(at), Some(b'e' | b'E')) {
        return None;
    }
    let value = value as f64 / POWERS[fraction];
    Some((if sign == 1 { -value } else { value }, at))
}

/// The length of the number at the start, or `None` if there is none: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]?
/// [0-9]+)?`.
#[inline]
pub(crate) fn number(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_byte_that_needs_an_escape() {
        for byte in 0..=255_u8 {
            for before in 0..80 {
                let mut text = vec![b'a'; before];
                text.push(byte);
                text.extend([0xFF; 20]);
                let needs_escape = byte == b'"' || byte == b'\\' || byte < 0x20;
                assert_eq!(plain(&text), if needs_escape { before } else { text.len() }, "{byte} after {before}");
            }
        }
    }

    #[test]
    fn short_decimals_are_exact() {
        for text in ["0", "-0", "0.1", "-1.5", "123456789012.345", "0.30000000000004", "999999999999999", "10", "-0.0"]
        {
            let (value, length) = short_decimal(text.as_bytes()).unwrap();
            assert_eq!((value.to_bits(), length), (text.parse::<f64>().unwrap().to_bits(), text.len()), "{text}");
        }
        for other in [
            "",
            "-",
            "01",
            "1.",
            "1e5",
            "1.5E1",
            "1234567890123456",
            "1.234567890123456",
            "123456789012345678.9012345",
            ".5",
            "+1",
            "NaN",
        ] {
            assert_eq!(short_decimal(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for (text, length) in [("0", 1), ("-0", 2), ("10", 2), ("1.50", 4), ("1e5", 3), ("1E+05,", 5), ("0.1e-7]", 6)] {
            assert_eq!(number(text.as_bytes()), Some(length), "{text}");
        }
        for text in ["", "-", "+1", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "NaN", "-Infinity"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }
}
