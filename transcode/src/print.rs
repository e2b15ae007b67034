//! Protobuf bytes to JSON text.
//!
//! The wire may hold the fields of a message in any order, a singular field several times, and a list in pieces. JSON
//! needs each field once and each list in one piece. The printer first looks at the tags of a message (see [`order`]): it
//! reads over the values without looking into them. If each field stands in one piece, as all common encoders write it,
//! the message is printed field by field as it stands. Otherwise its fields are collected as records (see [`records`])
//! that refer to the input, sorted by field, and printed from there. Pieces of one message are merged by collecting the
//! fields of all pieces. No bytes are copied, and each level of a message is read a fixed number of times.

mod any;
mod list;
mod map;
mod members;
mod order;
mod records;
mod scalar;
mod well_known;

use records::Record;

use crate::{
    error::{ErrorKind, Fallible, Fault},
    options::{Limits, PrintOptions},
    plan::{FieldPlan, Kind, Label, MessageId, MoreBits, Plans, Shape},
    wire::{Fields, Span},
};

struct Printer<'a, 'o> {
    plans: &'a Plans,
    input: &'a [u8],
    options: PrintOptions,
    out: &'o mut Vec<u8>,
    /// The bits of the fields and oneofs that occurred, while the order of a message is checked.
    seen: MoreBits,
    /// The records of the messages on the way to the current one.
    records: Vec<Record>,
    /// The entries of the maps on the way to the current value.
    entries: Vec<map::Entry>,
    /// How many messages may still be nested.
    depth: usize,
    /// How many elements and entries may still follow.
    elements: usize,
    /// The length that the output must not exceed.
    longest: usize,
}

/// Where the content of a message is.
#[derive(Debug, Clone, Copy)]
enum Content {
    /// In one piece.
    Whole(Span),
    /// In the pieces that a range of the printer's records refers to.
    Pieces { from: usize, to: usize },
}

/// Appends the JSON text of a message.
///
/// # Errors
///
/// Fails if the bytes do not encode the message, if JSON has no form for a value, or if a limit is exceeded. The output
/// then has a tail without meaning.
pub(crate) fn message(
    plans: &Plans,
    id: MessageId,
    proto: &[u8],
    options: &PrintOptions,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Fallible<()> {
    let (mut printer, whole) = Printer::new(plans, proto, options, limits, out)?;
    printer.message(id, Content::Whole(whole))?;
    printer.check_output(whole)
}

/// Appends the JSON text of a field of a message. A field that is absent has its default value: zero, `""`, `[]`, `{}`; a
/// message is `null`.
///
/// # Errors
///
/// As those of [`message`].
pub(crate) fn field(
    plans: &Plans,
    steps: &[(MessageId, usize)],
    proto: &[u8],
    options: &PrintOptions,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Fallible<()> {
    let (mut printer, whole) = Printer::new(plans, proto, options, limits, out)?;
    printer.path(steps, Content::Whole(whole))?;
    printer.check_output(whole)
}

impl<'a, 'o> Printer<'a, 'o> {
    fn new(
        plans: &'a Plans,
        proto: &'a [u8],
        options: &PrintOptions,
        limits: &Limits,
        out: &'o mut Vec<u8>,
    ) -> Fallible<(Self, Span)> {
        let end = u32::try_from(proto.len()).ok().filter(|length| *length as usize <= limits.usable_input());
        let Some(end) = end else {
            let longest = limits.usable_input();
            return Err(Fault::new(ErrorKind::TooLong, longest, format!("the message is longer than {longest} bytes")));
        };
        let longest = out.len().saturating_add(limits.output);
        // Most JSON texts are about twice as long as their message.
        out.reserve(proto.len().saturating_mul(2).min(limits.output));
        let printer = Self {
            plans,
            input: proto,
            options: *options,
            longest,
            out,
            seen: MoreBits::new(),
            records: Vec::new(),
            entries: Vec::new(),
            depth: limits.usable_depth(),
            elements: limits.elements,
        };
        Ok((printer, Span { start: 0, end }))
    }

    /// Prints a field that may be nested.
    fn path(&mut self, steps: &[(MessageId, usize)], content: Content) -> Fallible<()> {
        let Some(((id, index), rest)) = steps.split_first() else { return Ok(()) };
        let plan = self.plans.message(*id);
        let field = &plan.fields[*index];
        let named = |fault: Box<Fault>| fault.in_field(&field.json_name);
        let base = self.collect(plan, content)?;
        let (from, to) = self.group_of(base, *index);
        if from == to {
            // All messages on the way are absent too.
            let last = rest.last().map_or(field, |(message, index)| &self.plans.message(*message).fields[*index]);
            self.absent(last);
            return Ok(());
        }
        let printed = match rest.is_empty() {
            true => self.field_of_records(field, from, to).map(drop),
            false => self.path(rest, Content::Pieces { from, to }),
        };
        self.records.truncate(base);
        printed.map_err(named)
    }

    /// Prints the value of a field that is absent.
    fn absent(&mut self, field: &FieldPlan) {
        if field.label == Label::Singular && field.kind.message().is_some() {
            self.out.extend_from_slice(b"null");
        } else {
            self.default_value(field);
        }
    }

    /// Prints a message.
    fn message(&mut self, id: MessageId, content: Content) -> Fallible<()> {
        self.enter(content)?;
        let plan = self.plans.message(id);
        match plan.shape {
            Shape::Object => {
                self.out.push(b'{');
                self.members(plan, content, true)?;
                self.out.push(b'}');
            }
            Shape::Any => self.any(plan, content)?,
            Shape::Timestamp | Shape::Duration => self.time(plan, content)?,
            Shape::FieldMask => self.field_mask(plan, content)?,
            Shape::Value => self.value(plan, content)?,
            Shape::Struct | Shape::ListValue | Shape::Wrapper => self.only_field(plan, content)?,
        }
        self.leave();
        Ok(())
    }

    /// Prints the value of a singular field.
    #[inline]
    fn singular(&mut self, field: &FieldPlan, value: Span) -> Fallible<()> {
        match field.kind {
            Kind::Message(id) | Kind::Group(id) => self.message(id, Content::Whole(value)),
            kind => self.scalar(kind, value.of(self.input), value),
        }
    }

    fn key(&mut self, field: &FieldPlan) {
        let key = if self.options.preserve_proto_field_names { &field.proto_key } else { &field.json_key };
        self.out.extend_from_slice(key);
    }

    /// Reads the fields of a part of the input.
    fn fields(&self, span: Span) -> Fields<'a> {
        Fields::new(self.input, span, self.depth)
    }

    fn enter(&mut self, content: Content) -> Fallible<()> {
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => return Err(limit(self.start_of(content), "messages are nested too deeply")),
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth += 1;
    }

    /// Counts an element or an entry.
    #[inline]
    fn count(&mut self, value: Span) -> Fallible<()> {
        match self.elements.checked_sub(1) {
            Some(left) => self.elements = left,
            None => return Err(limit(value, "the message has too many elements")),
        }
        Ok(())
    }

    #[inline]
    fn check_output(&self, value: Span) -> Fallible<()> {
        if self.out.len() > self.longest {
            return Err(Fault::new(ErrorKind::TooLong, value.start as usize, "the JSON text is too long"));
        }
        Ok(())
    }

    /// The first piece of a message.
    fn start_of(&self, content: Content) -> Span {
        match content {
            Content::Whole(span) => span,
            Content::Pieces { from, .. } => self.records[from].value,
        }
    }
}

#[cold]
fn limit(value: Span, message: &str) -> Box<Fault> {
    Fault::new(ErrorKind::Limit, value.start as usize, message)
}

#[cold]
fn unrepresentable(value: Span, message: &str) -> Box<Fault> {
    Fault::new(ErrorKind::Unrepresentable, value.start as usize, message)
}
