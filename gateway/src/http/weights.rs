//! Lists whose members have weights, such as `accept` and `accept-encoding` (RFC 9110, section 12.4.2).

use http::{HeaderMap, HeaderName};

/// The weight of a member that states none.
const FULL: u16 = 1000;

/// The members in all lines of a header, with their parameters, and their weights in thousandths; 0 excludes a member. One
/// with a malformed weight is left out.
pub(crate) fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, u16)> + use<'a> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(member)
}

fn member(text: &str) -> Option<(&str, u16)> {
    let weight = text.rsplit_once(';').and_then(|(member, last)| Some((member, last.split_once('=')?)));
    let (member, weight) = match weight {
        Some((member, (key, value))) if key.trim().eq_ignore_ascii_case("q") => (member, thousandths(value.trim())?),
        _ => (text, FULL),
    };
    Some((member.trim(), weight)).filter(|(member, _)| !member.is_empty())
}

/// A weight such as `1`, `0.5` or `0.125`.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let weight = format!("{whole}{fraction:0<3}").parse().ok()?;
    (weight <= FULL).then_some(weight)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::ACCEPT};

    use super::*;

    #[test]
    fn members_of_all_lines_have_their_weights() {
        let lines = ["text/html;level=1; Q=0.5, */*;q=0.125,", "a/b;q=2, , c/d;q=0.000, e/f; q=1.0"];
        let headers = lines.map(|line| (ACCEPT, HeaderValue::from_static(line))).into_iter().collect();
        let all: Vec<_> = members(&headers, &ACCEPT).collect();
        assert_eq!(all, [("text/html;level=1", 500), ("*/*", 125), ("c/d", 0), ("e/f", 1000)]);
    }
}
