//! The entries of `x-forwarded-for` and `forwarded` (RFC 7239), split off at the end of a line.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The part before the last entry, if any, and that entry.
pub(super) type Split = fn(&[u8]) -> (Option<&[u8]>, &[u8]);
/// The address that an entry states; `None`: it states none that can be read.
pub(super) type Read = fn(&[u8]) -> Option<IpAddr>;

/// Splits at the last comma.
pub(super) fn split(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match value.iter().rposition(|byte| *byte == b',') {
        Some(at) => (Some(&value[..at]), &value[at + 1..]),
        None => (None, value),
    }
}

/// Splits at the last comma outside of quoted strings. It goes from the end, so that a quote which a caller leaves open
/// does not swallow the entries behind it.
pub(super) fn split_quoted(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut is_quoted = false;
    for (at, byte) in value.iter().enumerate().rev() {
        match byte {
            b'"' if !(is_quoted && is_escaped(&value[..at])) => is_quoted = !is_quoted,
            b',' if !is_quoted => return (Some(&value[..at]), &value[at + 1..]),
            _ => {}
        }
    }
    (None, value)
}

/// Whether what follows `before` is the second half of a quoted pair.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in the `for` parameter of an element of `forwarded`.
pub(super) fn forwarded(element: &[u8]) -> Option<IpAddr> {
    let (mut rest, mut found) = (Some(element), None);
    while let Some(pairs) = rest {
        let (pair, after) = parameter(pairs)?;
        rest = after;
        if let Some((name, value)) = pair
            && name.eq_ignore_ascii_case(b"for")
        {
            // Each parameter occurs once in an element (section 4).
            if found.replace(value).is_some() {
                return None;
            }
        }
    }
    node(&found?)
}

type Pair<'a> = (&'a [u8], Cow<'a, [u8]>);

/// The first parameter (`None`: an empty one), and what follows its semicolon. `None`: malformed.
fn parameter(pairs: &[u8]) -> Option<(Option<Pair<'_>>, Option<&[u8]>)> {
    let pairs = pairs.trim_ascii_start();
    if pairs.is_empty() || pairs[0] == b';' {
        return Some((None, pairs.get(1..)));
    }
    let at = pairs.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&pairs[..at], &pairs[at + 1..]);
    let (value, after) = match value.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted)?,
        None => {
            let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
            (Cow::Borrowed(value[..end].trim_ascii_end()), &value[end..])
        }
    };
    match after.trim_ascii_start() {
        [] => Some((Some((name, value)), None)),
        [b';', rest @ ..] => Some((Some((name, value)), Some(rest))),
        _ => None,
    }
}

/// The contents of a quoted string behind its first quote, and what follows its last.
fn unquote(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut contents = Cow::Borrowed(&text[..0]);
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => return Some((contents, &text[at + 1..])),
            b'\\' => {
                contents.to_mut().push(*text.get(at + 1)?);
                at += 2;
            }
            byte => {
                match &mut contents {
                    Cow::Borrowed(seen) => *seen = &text[..=at],
                    Cow::Owned(seen) => seen.push(byte),
                }
                at += 1;
            }
        }
    }
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`. Not `unknown`,
/// an obfuscated identifier (`_hidden`), or the unspecified address.
pub(super) fn node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let address = match text.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => with_port(text)?,
    };
    let address = address.to_canonical();
    (!address.is_unspecified()).then_some(address)
}

fn with_port(text: &str) -> Option<IpAddr> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.into(), port)
        }
        None => {
            let at = text.find(':')?;
            (text[..at].parse::<Ipv4Addr>().ok()?.into(), &text[at..])
        }
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address)
}

/// A port or an obfuscated one (section 6.2).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}
