//! JSON text to protobuf bytes, in one pass.
//!
//! The parser reads tokens and writes fields in the order of the text. It writes a message's content before it knows the
//! length; [`Lengths`] explains how the prefix gets there. Members of one message are checked for duplicates with one bit
//! for each field and oneof.

mod any;
mod list;
mod map;
mod members;
mod scalar;
mod text;
mod well_known;

pub(crate) use text::append_text;

use crate::{
    error::{ErrorKind, Fallible, Fault},
    json::Reader,
    options::{Limits, ParseOptions},
    plan::{FieldPlan, Kind, Label, MessageId, MoreBits, Plans, Shape},
    wire::{Lengths, Tag},
};

struct Parser<'a, 'o> {
    plans: &'a Plans,
    reader: Reader<'a>,
    ignore_unknown: bool,
    out: &'o mut Vec<u8>,
    lengths: Lengths,
    /// The bits of the fields and oneofs that occurred.
    seen: MoreBits,
    /// The keys of the maps on the way to the current value.
    keys: Vec<map::Key>,
    /// How many messages may still be nested.
    depth: usize,
    /// The length that the output must not exceed.
    longest: usize,
    /// How many `Any` messages on the way to the current one have read ahead to their type.
    read_ahead: usize,
}

/// Appends the message of a JSON text.
///
/// # Errors
///
/// Fails if the text is not the JSON form of the message, or exceeds a limit. The output then has a tail without meaning.
pub(crate) fn message(
    plans: &Plans,
    id: MessageId,
    json: &[u8],
    options: &ParseOptions,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Fallible<()> {
    let mut parser = Parser::new(plans, json, options, limits, out)?;
    parser.message(id)?;
    parser.finish()
}

/// Appends a field of a message, from the JSON text of the field's value. `null` leaves the field unset.
///
/// # Errors
///
/// As those of [`message`].
pub(crate) fn field(
    plans: &Plans,
    steps: &[(MessageId, usize)],
    json: &[u8],
    options: &ParseOptions,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Fallible<()> {
    let mut parser = Parser::new(plans, json, options, limits, out)?;
    let is_absent = steps.last().is_some_and(|(message, index)| {
        let field = &plans.message(*message).fields[*index];
        parser.reader.peek() == b'n' && !parser.accepts_null(field)
    });
    if is_absent {
        parser.reader.literal("null")?;
    } else {
        parser.path(steps)?;
    }
    parser.finish()
}

impl<'a, 'o> Parser<'a, 'o> {
    fn new(
        plans: &'a Plans,
        json: &'a [u8],
        options: &ParseOptions,
        limits: &Limits,
        out: &'o mut Vec<u8>,
    ) -> Fallible<Self> {
        let reader = Reader::new(json, limits)?;
        let longest = out.len().saturating_add(limits.output);
        // Most messages are a little shorter than their JSON.
        out.reserve(json.len().min(limits.output));
        Ok(Self {
            plans,
            reader,
            ignore_unknown: options.ignore_unknown_fields,
            out,
            lengths: Lengths::default(),
            seen: MoreBits::new(),
            keys: Vec::new(),
            depth: limits.usable_depth(),
            longest,
            read_ahead: 0,
        })
    }

    fn finish(mut self) -> Fallible<()> {
        self.reader.end()?;
        self.check_output()?;
        self.lengths.finish(self.out);
        Ok(())
    }

    /// Writes a field that may be nested.
    fn path(&mut self, steps: &[(MessageId, usize)]) -> Fallible<()> {
        let Some(((message, index), rest)) = steps.split_first() else { return Ok(()) };
        let field = &self.plans.message(*message).fields[*index];
        let named = |fault: Box<Fault>| fault.in_field(&field.json_name);
        if rest.is_empty() {
            return self.field(field).map(drop).map_err(named);
        }
        self.nested(field, |parser| parser.path(rest)).map_err(named)
    }

    /// Writes the value of a field; false if it is `null`, or the ignored name of an enum value.
    #[inline]
    fn field(&mut self, field: &'a FieldPlan) -> Fallible<bool> {
        let is_absent = self.reader.peek() == b'n' && !self.accepts_null(field);
        if is_absent {
            self.reader.literal("null")?;
            return Ok(false);
        }
        match field.label {
            Label::Singular => return self.singular(field, field.has_presence),
            Label::List { is_packed } => self.list(field, is_packed)?,
            Label::Map => self.map(field)?,
        }
        Ok(true)
    }

    /// Whether `null` is a value of the field.
    fn accepts_null(&self, field: &FieldPlan) -> bool {
        let is_null = match field.kind {
            Kind::Enum(id) => self.plans.enumeration(id).is_null,
            Kind::Message(id) => self.plans.message(id).shape == Shape::Value,
            _ => false,
        };
        is_null && field.label == Label::Singular
    }

    /// Writes one value; false if it is the ignored name of an enum value.
    #[inline]
    fn singular(&mut self, field: &'a FieldPlan, keeps_zero: bool) -> Fallible<bool> {
        match field.kind {
            Kind::Message(id) | Kind::Group(id) => {
                self.nested(field, |parser| parser.message(id))?;
                Ok(true)
            }
            kind => self.scalar(kind, Some(&field.tag), keeps_zero),
        }
    }

    /// Writes a message between its tag and its end.
    fn nested(&mut self, field: &FieldPlan, content: impl FnOnce(&mut Self) -> Fallible<()>) -> Fallible<()> {
        self.put_tag(&field.tag);
        if let Kind::Group(_) = field.kind {
            content(self)?;
            self.put_tag(&field.end_tag);
        } else {
            let open = self.lengths.open(self.out);
            content(self)?;
            self.lengths.close(self.out, open);
        }
        Ok(())
    }

    /// Writes the content of a message.
    fn message(&mut self, id: MessageId) -> Fallible<()> {
        self.enter()?;
        let plan = self.plans.message(id);
        match plan.shape {
            Shape::Object => self.object(plan)?,
            Shape::Any => self.any(plan)?,
            Shape::Timestamp => self.timestamp(plan)?,
            Shape::Duration => self.duration(plan)?,
            Shape::FieldMask => self.field_mask(plan)?,
            Shape::Struct => self.map(plan.fixed(1))?,
            Shape::Value => self.value(plan)?,
            Shape::ListValue => self.list(plan.fixed(1), false)?,
            Shape::Wrapper => self.singular(plan.fixed(1), false).map(drop)?,
        }
        self.leave();
        self.check_output()
    }

    fn enter(&mut self) -> Fallible<()> {
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => return Err(self.limit("messages are nested too deeply")),
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth += 1;
    }

    fn check_output(&self) -> Fallible<()> {
        if self.lengths.total(self.out) > self.longest {
            let message = "the converted message is too long";
            return Err(Fault::new(ErrorKind::TooLong, self.reader.position(), message));
        }
        Ok(())
    }

    #[inline]
    fn put_tag(&mut self, tag: &Tag) {
        self.out.extend_from_slice(tag.bytes());
    }

    #[cold]
    fn limit(&self, message: &str) -> Box<Fault> {
        Fault::new(ErrorKind::Limit, self.reader.position(), message)
    }
}
