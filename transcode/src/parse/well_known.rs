//! Messages with a JSON form of their own.

use super::Parser;
use crate::{
    error::{ErrorKind, Fallible, Fault},
    plan::MessagePlan,
    text::{field_mask, time},
    wire::put_varint,
};

/// The problem of a timestamp, for an error.
pub(super) const TIMESTAMP: &str = "expected a time of the years 1 to 9999 such as \"2001-02-03T04:05:06.789Z\"";
/// The problem of a duration, for an error.
pub(super) const DURATION: &str = "expected a duration of at most 315576000000 seconds such as \"1.5s\"";
/// The problem of a field mask, for an error.
pub(super) const FIELD_MASK: &str = "expected field names in lowerCamelCase such as \"displayName,address.street\"";

impl<'a> Parser<'a, '_> {
    pub(super) fn timestamp(&mut self, plan: &MessagePlan) -> Fallible<()> {
        let (position, text) = self.text()?;
        let Some((seconds, nanos)) = time::parse_timestamp(&text) else { return Err(value(position, TIMESTAMP)) };
        put_time(self.out, plan, (seconds, nanos), false);
        Ok(())
    }

    pub(super) fn duration(&mut self, plan: &MessagePlan) -> Fallible<()> {
        let (position, text) = self.text()?;
        let Some((seconds, nanos)) = time::parse_duration(&text) else { return Err(value(position, DURATION)) };
        put_time(self.out, plan, (seconds, nanos), false);
        Ok(())
    }

    pub(super) fn field_mask(&mut self, plan: &MessagePlan) -> Fallible<()> {
        let (position, text) = self.text()?;
        let is_mask = put_field_mask(self.out, plan, &text, field_mask::put_snake_case);
        if is_mask { Ok(()) } else { Err(value(position, FIELD_MASK)) }
    }

    /// A string and its position.
    fn text(&mut self) -> Fallible<(usize, std::borrow::Cow<'a, str>)> {
        self.reader.peek();
        Ok((self.reader.position(), self.reader.string()?))
    }

    /// Writes any JSON value.
    pub(super) fn value(&mut self, plan: &'a MessagePlan) -> Fallible<()> {
        let number = match self.reader.peek() {
            b'n' => 1,
            b'"' => 3,
            b't' | b'f' => 4,
            b'{' => 5,
            b'[' => 6,
            _ => 2,
        };
        self.singular(plan.fixed(number), true).map(drop)
    }
}

/// Writes the fields of a timestamp or duration.
pub(super) fn put_time(out: &mut Vec<u8>, plan: &MessagePlan, (seconds, nanos): (i64, i32), keeps_zero: bool) {
    for (number, value) in [(1, seconds), (2, i64::from(nanos))] {
        if keeps_zero || value != 0 {
            out.extend_from_slice(plan.fixed(number).tag.bytes());
            put_varint(out, value as u64);
        }
    }
}

/// Writes the paths of a field mask, which `put` converts to snake_case; false if one is malformed.
pub(super) fn put_field_mask(
    out: &mut Vec<u8>,
    plan: &MessagePlan,
    text: &str,
    put: fn(&mut Vec<u8>, &str) -> bool,
) -> bool {
    let paths = text.split(',').filter(|_| !text.is_empty());
    for path in paths {
        let mut snake_case = Vec::with_capacity(path.len() + 8);
        if !put(&mut snake_case, path) {
            return false;
        }
        out.extend_from_slice(plan.fixed(1).tag.bytes());
        put_varint(out, snake_case.len() as u64);
        out.extend(snake_case);
    }
    true
}

fn value(position: usize, message: &str) -> Box<Fault> {
    Fault::new(ErrorKind::Value, position, message)
}
