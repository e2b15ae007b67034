//! Scalars and enum values.

use super::{Printer, unrepresentable};
use crate::{
    error::Fallible,
    json::put_string,
    plan::{EnumId, Kind},
    text::{base64, number},
    wire::{self, Span, WireType, unzigzag},
};

impl<'a> Printer<'a, '_> {
    /// Prints a value from its bytes on the wire.
    #[inline]
    pub(super) fn scalar(&mut self, kind: Kind, bytes: &[u8], span: Span) -> Fallible<()> {
        match kind {
            Kind::String => {
                let text = self.utf8(span)?;
                put_string(self.out, text);
            }
            Kind::Bytes => {
                self.out.push(b'"');
                base64::encode(bytes, self.out);
                self.out.push(b'"');
            }
            _ => match kind.wire_type() {
                WireType::Varint => self.number_of_varint(kind, varint(bytes)),
                WireType::Fixed32 => self.number_of_bits_32(kind, fixed32(bytes)),
                WireType::Fixed64 => self.number_of_bits_64(kind, fixed64(bytes)),
                // The caller prints messages itself.
                _ => {}
            },
        }
        Ok(())
    }

    /// Prints a value that the wire has as a varint.
    #[inline]
    pub(super) fn number_of_varint(&mut self, kind: Kind, raw: u64) {
        match kind {
            Kind::Int32 => self.integer(raw as i32),
            Kind::Sint32 => self.integer(unzigzag(raw & 0xFFFF_FFFF) as i32),
            Kind::Uint32 => self.integer(raw as u32),
            Kind::Int64 => self.quoted_integer(raw as i64),
            Kind::Sint64 => self.quoted_integer(unzigzag(raw)),
            Kind::Bool => self.out.extend_from_slice(if raw == 0 { b"false" } else { b"true" }),
            Kind::Enum(id) => self.enum_value(id, raw as i32),
            _ => self.quoted_integer(raw),
        }
    }

    /// Prints a value that the wire has in four bytes.
    #[inline]
    pub(super) fn number_of_bits_32(&mut self, kind: Kind, bits: u32) {
        match kind {
            Kind::Float => number::put_float(self.out, f32::from_bits(bits)),
            Kind::Sfixed32 => self.integer(bits as i32),
            _ => self.integer(bits),
        }
    }

    /// Prints a value that the wire has in eight bytes.
    #[inline]
    pub(super) fn number_of_bits_64(&mut self, kind: Kind, bits: u64) {
        match kind {
            Kind::Double => number::put_float(self.out, f64::from_bits(bits)),
            Kind::Sfixed64 => self.quoted_integer(bits as i64),
            _ => self.quoted_integer(bits),
        }
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// 64-bit integers are strings, as a double of JavaScript does not hold them all.
    fn quoted_integer(&mut self, value: impl itoa::Integer) {
        self.out.push(b'"');
        self.integer(value);
        self.out.push(b'"');
    }

    pub(super) fn enum_value(&mut self, id: EnumId, number: i32) {
        let plan = self.plans.enumeration(id);
        let name = plan.quoted_name(number).filter(|_| !self.options.always_print_enums_as_ints);
        match name {
            _ if plan.is_null => self.out.extend_from_slice(b"null"),
            Some(name) => self.out.extend_from_slice(name),
            None => self.integer(number),
        }
    }

    /// A text of the input.
    pub(super) fn utf8(&self, span: Span) -> Fallible<&'a str> {
        let text = std::str::from_utf8(span.of(self.input));
        text.map_err(|_| unrepresentable(span, "a string is not valid UTF-8"))
    }

    /// Whether a value is the default of its type: zero or empty.
    #[inline]
    pub(super) fn is_default(&self, kind: Kind, value: Span) -> bool {
        let bytes = value.of(self.input);
        match kind {
            Kind::Message(_) | Kind::Group(_) => false,
            Kind::String | Kind::Bytes => bytes.is_empty(),
            // All its numbers are `null`.
            Kind::Enum(id) if self.plans.enumeration(id).is_null => true,
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => fixed32(bytes) == 0,
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => fixed64(bytes) == 0,
            // Decoders keep the low 32 bits only.
            Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_) => varint(bytes) as u32 == 0,
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Bool => varint(bytes) == 0,
        }
    }
}

/// The varint that `bytes` consist of.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> u64 {
    wire::varint(bytes).unwrap_or_default().0
}

#[inline]
pub(super) fn fixed32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_le_bytes)
}

#[inline]
pub(super) fn fixed64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}
