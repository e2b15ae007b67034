//! `Timestamp` and `Duration`: RFC 3339 in UTC, and seconds with an `s`, both with 0, 3, 6 or 9 digits of a fraction.

/// From the year 1 to the year 9999.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10 000 years.
const LONGEST_DURATION: u64 = 315_576_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The seconds and nanoseconds of `1970-01-01T00:00:00.5Z`, or of a time with an offset.
pub(crate) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let (date, rest) = text.as_bytes().split_at_checked(19)?;
    let digits = |from: usize, length: usize| number(&date[from..from + length]);
    let separators = [date[4], date[7], date[10], date[13], date[16]];
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
    let is_time = hour < 24 && minute < 60 && second < 60;
    if separators != *b"--T::" || !is_time || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let (nanos, rest) = fraction(rest)?;
    let local = days_since_epoch(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    let seconds = local - offset(rest)?;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanos))
}

/// The seconds of `Z`, `+01:30` or `-01:30`.
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            let seconds = hours * 3600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Appends a timestamp without quotes; false if JSON has no form for it.
pub(crate) fn put_timestamp(out: &mut Vec<u8>, seconds: i64, nanos: i32) -> bool {
    let Some(nanos) = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000) else { return false };
    if !TIMESTAMPS.contains(&seconds) {
        return false;
    }
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date_of(days);
    let pair = |number: i64| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
    let ([y1, y2], [y3, y4], [mo1, mo2], [d1, d2]) = (pair(year / 100), pair(year % 100), pair(month), pair(day));
    let ([h1, h2], [mi1, mi2], [s1, s2]) = (pair(second / 3600), pair(second / 60 % 60), pair(second % 60));
    out.extend([y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2]);
    put_fraction(out, nanos);
    out.push(b'Z');
    true
}

/// The seconds and nanoseconds of `-1.5s`. Both have the sign.
pub(crate) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    // More digits than the longest duration has are leading zeros or out of range.
    let seconds = if (1..=18).contains(&whole) { number(&text.as_bytes()[..whole])? } else { return None };
    let (nanos, rest) = fraction(&text.as_bytes()[whole..])?;
    let is_valid = rest.is_empty() && seconds.unsigned_abs() <= LONGEST_DURATION;
    is_valid.then_some((sign * seconds, sign as i32 * nanos))
}

/// Appends a duration without quotes; false if JSON has no form for it.
pub(crate) fn put_duration(out: &mut Vec<u8>, seconds: i64, nanos: i32) -> bool {
    let have_different_signs = (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0);
    if seconds.unsigned_abs() > LONGEST_DURATION || nanos.unsigned_abs() >= 1_000_000_000 || have_different_signs {
        return false;
    }
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(seconds.unsigned_abs()).as_bytes());
    put_fraction(out, nanos.unsigned_abs());
    out.push(b's');
    true
}

/// The nanoseconds of `.5` with up to nine digits, and the rest; no fraction is none.
fn fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    if !(1..=9).contains(&length) {
        return None;
    }
    let scale = 10_i64.pow(9 - length as u32);
    Some(((number(digits)? * scale) as i32, rest))
}

/// Appends nothing, or a fraction with 3, 6 or 9 digits.
fn put_fraction(out: &mut Vec<u8>, nanos: u32) {
    let digits = match nanos {
        0 => return,
        _ if nanos.is_multiple_of(1_000_000) => 3,
        _ if nanos.is_multiple_of(1_000) => 6,
        _ => 9,
    };
    out.push(b'.');
    let mut scale = 100_000_000;
    for _ in 0..digits {
        out.push(b'0' + (nanos / scale % 10) as u8);
        scale /= 10;
    }
}

/// The value of up to 18 digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from 1970-01-01 to a date of the Gregorian calendar. A year starts in March here, so that the leap day is its
/// last one; an era is 400 years.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year, month and day: the inverse of [`days_since_epoch`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = (shifted + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_of_all_years_is_its_own_inverse() {
        let days = TIMESTAMPS.start() / SECONDS_PER_DAY..=TIMESTAMPS.end() / SECONDS_PER_DAY;
        let mut before = (0, 12, 31);
        for days in days {
            let date @ (year, month, day) = date_of(days);
            assert_eq!(days_since_epoch(year, month, day), days);
            let follows = date == (before.0, before.1, before.2 + 1)
                || (day == 1 && before.2 == days_of(before.0, before.1) && (month == before.1 + 1 || month == 1));
            assert!(follows, "{date:?} follows {before:?}");
            before = date;
        }
        assert_eq!(before, (9999, 12, 31));
    }

    #[test]
    fn durations_have_one_sign() {
        let mut out = Vec::new();
        assert!(!put_duration(&mut out, 1, -1) && !put_duration(&mut out, -1, 1) && out.is_empty());
        assert!(put_duration(&mut out, 0, -1_000));
        assert_eq!(out, b"-0.000001s");
        assert_eq!(parse_duration("-0.000001s"), Some((0, -1_000)));
    }

    #[test]
    fn malformed_durations_are_refused() {
        for text in ["", "s", "1", ".5s", "1.s", "+1s", "--1s", "1 s", "1.0000000000s", "1e3s", "0x1s", "315576000001s"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
