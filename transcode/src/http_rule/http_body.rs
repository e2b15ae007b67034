//! The fields of a `google.api.HttpBody`: a content type and bytes.

use std::ops::Range;

use super::HttpBody;
use crate::wire::{Fields, Span, Tag, WireType, put_varint, varint_length};

/// How many groups may be nested in the unknown fields of a message.
const GROUPS: usize = 100;

/// The positions of an `HttpBody`'s fields in an encoded message. An absent field is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpBodyParts {
    /// `content_type`.
    pub content_type: Range<usize>,
    /// `data`.
    pub data: Range<usize>,
}

impl HttpBody {
    /// Appends the fields to an encoded message.
    pub fn append(self, content_type: &str, data: &[u8], out: &mut Vec<u8>) {
        let fields = [(Self::CONTENT_TYPE, content_type.as_bytes()), (Self::DATA, data)];
        let set = || fields.into_iter().filter(|(_, value)| !value.is_empty());
        if let Some(field) = self.field {
            // The tags of both fields have one byte.
            let length = |value: &[u8]| 1 + varint_length(value.len() as u64) + value.len();
            out.extend_from_slice(Tag::new(field, WireType::Length).bytes());
            put_varint(out, set().map(|(_, value)| length(value) as u64).sum());
        }
        for (number, value) in set() {
            out.extend_from_slice(Tag::new(number, WireType::Length).bytes());
            put_varint(out, value.len() as u64);
            out.extend_from_slice(value);
        }
    }

    /// Finds the fields in an encoded message. `None`: the bytes do not encode a message.
    pub fn find(self, message: &[u8]) -> Option<HttpBodyParts> {
        let whole = Span { start: 0, end: u32::try_from(message.len()).ok()? };
        let mut parts = HttpBodyParts::default();
        let Some(field) = self.field else {
            read(message, whole, &mut parts)?;
            return Some(parts);
        };
        let mut fields = Fields::new(message, whole, GROUPS);
        while let Some(found) = fields.next().ok()? {
            if (found.number, found.wire_type) == (field, WireType::Length) {
                // Several occurrences of a message are merged.
                read(message, found.value, &mut parts)?;
            }
        }
        Some(parts)
    }
}

/// Reads the fields in a part of the message.
fn read(message: &[u8], span: Span, parts: &mut HttpBodyParts) -> Option<()> {
    let mut fields = Fields::new(message, span, GROUPS);
    while let Some(found) = fields.next().ok()? {
        let value = found.value.start as usize..found.value.end as usize;
        match (found.number, found.wire_type) {
            (HttpBody::CONTENT_TYPE, WireType::Length) => parts.content_type = value,
            (HttpBody::DATA, WireType::Length) => parts.data = value,
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_body_is_equal_after_append_and_find() {
        for field in [None, Some(1), Some(2_000)] {
            for (content_type, data) in [("", &b""[..]), ("text/plain", b""), ("", b"bytes"), ("a/b", &[7; 300])] {
                let body = HttpBody { field };
                // Another field before and after: 3, a varint; 5, a text.
                let mut message = b"\x18\x01".to_vec();
                body.append(content_type, data, &mut message);
                message.extend_from_slice(b"\x2a\x01x");
                let parts = body.find(&message).unwrap();
                assert_eq!(&message[parts.content_type], content_type.as_bytes(), "{field:?}");
                assert_eq!(&message[parts.data], data, "{field:?}");
            }
        }
    }

    #[test]
    fn http_body_of_a_malformed_message_is_not_found() {
        for message in [&b"\x12\x05abc"[..], b"\x0a", b"\x0f", b"\x1b", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"]
        {
            assert_eq!(HttpBody { field: None }.find(message), None, "{message:?}");
        }
        assert_eq!(HttpBody { field: Some(2) }.find(b"\x12\x02\x12\x05"), None, "within the field");
    }
}
