//! Numbers. Integers may have a fraction of zeros and an exponent: `1.0` and `1e2` are integers.

/// A number is not the integer that a field needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberProblem {
    /// It has a fraction.
    Fraction,
    OutOfRange,
}

/// The sign and the magnitude of an integer. The text follows the grammar of JSON numbers.
pub(crate) fn integer(text: &str) -> Result<(bool, u64), NumberProblem> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    // 19 digits fit 64 bits.
    let plain = if text.len() > 19 { None } else { decimal(text.as_bytes()) };
    Ok((is_negative, plain.map_or_else(|| scaled(text), Ok)?))
}

/// The value of at most 19 digits.
#[inline]
fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// The integer of a number with a fraction, an exponent or many digits.
fn scaled(text: &str) -> Result<u64, NumberProblem> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // The digits of a number are few, so that only the exponent can be extreme.
    let shift = digits.len() as i64 - significant.len() as i64 - fraction.len() as i64;
    let exponent = saturating(exponent).saturating_add(shift);
    let exponent = u32::try_from(exponent)
        .map_err(|_| if exponent < 0 { NumberProblem::Fraction } else { NumberProblem::OutOfRange })?;
    if significant.len() + exponent as usize > 20 {
        return Err(NumberProblem::OutOfRange);
    }
    let value = significant.bytes().fold(0, |value, digit| value * 10 + u128::from(digit - b'0'));
    u64::try_from(value * 10_u128.pow(exponent)).map_err(|_| NumberProblem::OutOfRange)
}

/// The value of an exponent such as `+05`.
fn saturating(exponent: &str) -> i64 {
    let (is_negative, digits) = match exponent.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let value =
        digits.iter().fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if is_negative { -value } else { value }
}

/// Appends a floating point number with the fewest digits that identify it. Not a number and the infinities are strings.
pub(crate) fn put_float<F: Into<f64> + zmij::Float>(out: &mut Vec<u8>, value: F) {
    let wide: f64 = value.into();
    if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if wide.is_infinite() {
        out.extend_from_slice(if wide > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_may_have_fractions_of_zeros_and_exponents() {
        for (text, value) in [
            ("0", (false, 0)),
            ("-0", (true, 0)),
            ("18446744073709551615", (false, u64::MAX)),
            ("1.0", (false, 1)),
            ("1e2", (false, 100)),
            ("-2.147483648e9", (true, 2_147_483_648)),
            ("100000.000", (false, 100_000)),
            ("1500e-2", (false, 15)),
            ("0.0000000000000000000000001e25", (false, 1)),
            ("0e999999999999999999999", (false, 0)),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn fractions_and_large_numbers_are_no_integers() {
        for text in ["0.5", "1e-1", "1.5e0", "1e-99999999999999999999"] {
            assert_eq!(integer(text), Err(NumberProblem::Fraction), "{text}");
        }
        for text in ["18446744073709551616", "1e20", "1e536870000", "9e99999999999999999999"] {
            assert_eq!(integer(text), Err(NumberProblem::OutOfRange), "{text}");
        }
    }

    fn printed<F: Into<f64> + zmij::Float>(value: F) -> String {
        let mut out = Vec::new();
        put_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_have_the_fewest_digits() {
        assert_eq!(printed(1.0_f64), "1");
        assert_eq!(printed(-0.0_f64), "-0");
        assert_eq!(printed(0.1_f32), "0.1");
        assert_eq!(printed(1.5e300_f64), "1.5e+300");
        assert_eq!(printed(f64::NAN), "\"NaN\"");
        assert_eq!(printed(f32::NEG_INFINITY), "\"-Infinity\"");
    }
}
