//! Entity tags (RFC 9110, section 8.8.3).

/// One entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    /// It begins with `W/`. The strong comparison, that of `If-Match`, never accepts such a tag.
    pub(crate) is_weak: bool,
    /// The text between the quotes. It may contain commas.
    pub(crate) opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Takes the tag at the beginning of `text`, and returns the rest too; `None`: there is no tag.
    fn take(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, quoted) = text.strip_prefix(b"W/").map_or((false, text), |rest| (true, rest));
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|byte| *byte == b'"')?;
        let opaque = &inner[..end];
        opaque.iter().copied().all(may_be_in_tag).then_some((Self { is_weak, opaque }, &inner[end + 1..]))
    }
}

/// Whether a byte may be in a tag: visible ASCII without the quote, or beyond ASCII.
pub(crate) fn may_be_in_tag(byte: u8) -> bool {
    byte != b'"' && (byte.is_ascii_graphic() || !byte.is_ascii())
}

/// The tags of a list; `None`: the text is no list of tags.
pub(crate) fn list(text: &[u8]) -> Option<Vec<EntityTag<'_>>> {
    let (mut tags, mut rest) = (Vec::new(), text.trim_ascii());
    while !rest.is_empty() {
        // Elements of a list may be empty (RFC 9110, section 5.6.1.2).
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let (tag, after) = EntityTag::take(rest)?;
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
        tags.push(tag);
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_within_quotes_are_parts_of_a_tag() {
        let read = |text: &'static str| {
            let tags = list(text.as_bytes())?;
            Some(tags.iter().map(|tag| (tag.is_weak, std::str::from_utf8(tag.opaque).unwrap())).collect::<Vec<_>>())
        };
        assert_eq!(read("\"a,b\", W/\"c, W/d\" ,\"\""), None, "a space is no part of a tag");
        assert_eq!(read("\"a,b\" ,, W/\"c,W/d\",\"\""), Some(vec![(false, "a,b"), (true, "c,W/d"), (false, "")]));
        assert_eq!(read("\"gr\u{fc}n\""), Some(vec![(false, "gr\u{fc}n")]));
        assert_eq!(read(""), Some(vec![]));
        for bad in ["a", "\"a", "w/\"a\"", "\"a\" \"b\"", "\"a\"b", "W/a", "*", "\"a\tb\""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
