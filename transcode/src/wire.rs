//! The protobuf wire format: tags, varints, length prefixes, and the fields of an encoded message.

mod lengths;

pub(crate) use lengths::Lengths;

use crate::error::{ErrorKind, Fallible, Fault};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Length,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// An encoded tag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tag {
    bytes: [u8; 5],
    length: u8,
}

impl Tag {
    pub(crate) fn new(number: u32, wire_type: WireType) -> Self {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::from(number) << 3 | wire_type as u64);
        let mut tag = Self { bytes: [0; 5], length: 0 };
        for (slot, byte) in tag.bytes.iter_mut().zip(bytes) {
            *slot = byte;
            tag.length += 1;
        }
        tag
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes of a varint.
pub(crate) fn varint_length(value: u64) -> usize {
    // Seven bits a byte; 0 takes one byte too.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A range of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn of<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.start as usize..self.end as usize]
    }
}

/// A field of an encoded message. The span holds its value: without the length for [`WireType::Length`], without the end
/// tag for [`WireType::StartGroup`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawField {
    pub(crate) number: u32,
    pub(crate) wire_type: WireType,
    pub(crate) value: Span,
}

/// Reads the fields of an encoded message. Positions are those of the whole input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    /// The position behind the message.
    end: usize,
    /// How many groups may be nested.
    depth: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(input: &'a [u8], span: Span, depth: usize) -> Self {
        Self { rest: span.of(input), end: span.end as usize, depth }
    }

    /// The next field.
    ///
    /// # Errors
    ///
    /// Fails if the bytes do not encode a field, or if groups are nested too deeply.
    // Inlined, the field stays in registers.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Fallible<Option<RawField>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            WireType::Length => self.length_delimited()?,
            WireType::Varint => {
                let start = self.at();
                self.varint()?;
                span(start, self.at())
            }
            _ => self.value(number, wire_type, self.depth)?,
        };
        Ok(Some(RawField { number, wire_type, value }))
    }

    /// The next field if its number is `number`.
    #[inline]
    pub(crate) fn next_with(&mut self, number: u32) -> Fallible<Option<RawField>> {
        let before = *self;
        let next = self.next()?.filter(|field| field.number == number);
        if next.is_none() {
            *self = before;
        }
        Ok(next)
    }

    fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    #[inline(always)]
    fn tag(&mut self) -> Fallible<(u32, WireType)> {
        let start = self.at();
        let tag = self.varint()?;
        let wire_type = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Length,
            3 => WireType::StartGroup,
            4 => WireType::EndGroup,
            5 => WireType::Fixed32,
            _ => return Err(malformed(start, "a field has an unknown wire type")),
        };
        match u32::try_from(tag >> 3) {
            Ok(number @ 1..0x2000_0000) => Ok((number, wire_type)),
            _ => Err(malformed(start, "a field has an invalid number")),
        }
    }

    #[inline(always)]
    fn varint(&mut self) -> Fallible<u64> {
        match varint(self.rest) {
            Some((value, length)) => {
                self.rest = &self.rest[length..];
                Ok(value)
            }
            None => Err(malformed(self.at(), "a number is truncated or too long")),
        }
    }

    #[inline]
    fn length_delimited(&mut self) -> Fallible<Span> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Fallible<Span> {
        let start = self.at();
        match self.rest.get(length..) {
            Some(rest) => self.rest = rest,
            None => return Err(malformed(start, "the message is truncated: a field is longer than its message")),
        }
        Ok(span(start, self.at()))
    }

    /// Reads over a value and returns where it stands.
    fn value(&mut self, number: u32, wire_type: WireType, depth: usize) -> Fallible<Span> {
        match wire_type {
            WireType::Varint => {
                let start = self.at();
                self.varint()?;
                Ok(span(start, self.at()))
            }
            WireType::Length => self.length_delimited(),
            WireType::Fixed32 => self.take(4),
            WireType::Fixed64 => self.take(8),
            WireType::StartGroup => self.group(number, depth),
            WireType::EndGroup => Err(malformed(self.at(), "a group ends that has not started")),
        }
    }

    /// Reads a group up to its end tag.
    fn group(&mut self, number: u32, depth: usize) -> Fallible<Span> {
        let start = self.at();
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Fault::new(ErrorKind::Limit, start, "groups are nested too deeply"));
        };
        loop {
            let end = self.at();
            if self.rest.is_empty() {
                return Err(malformed(start, "a group has no end"));
            }
            let (inner, wire_type) = self.tag()?;
            match wire_type {
                WireType::EndGroup if inner == number => return Ok(span(start, end)),
                WireType::EndGroup => return Err(malformed(end, "a group ends that has not started")),
                _ => self.value(inner, wire_type, depth)?,
            };
        }
    }
}

/// Positions fit 32 bits, as [`Limits`](crate::Limits) bound the input.
fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

/// The varint at the start of `bytes`, and its length.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    if let Some(byte) = bytes.first().filter(|byte| **byte < 0x80) {
        return Some((u64::from(*byte), 1));
    }
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if *byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cold]
fn malformed(offset: usize, message: &str) -> Box<Fault> {
    Fault::new(ErrorKind::Wire, offset, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_the_length_that_is_computed() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_length(value));
            assert_eq!(varint(&bytes), Some((value, bytes.len())));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn zigzag_is_reversible() {
        for value in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
