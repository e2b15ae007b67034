//! Maps. Of several entries with one key the last counts, as JSON must not repeat a key.

use super::{
    Content, Printer,
    scalar::{fixed32, fixed64, varint},
};
use crate::{
    error::{Fallible, Fault},
    json::put_string,
    plan::{FieldPlan, Kind, MessagePlan},
    wire::{Fields, RawField, Span, unzigzag},
};

/// Maps with up to so many entries are compared pairwise.
const FEW_ENTRIES: usize = 8;

/// An entry on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The entry message.
    message: Span,
    /// The text of a string; nothing for other keys.
    text: Span,
    /// The number of another key; zero for a string.
    number: u64,
    value: EntryValue,
    /// Whether a later entry has the same key.
    is_replaced: bool,
}

#[derive(Debug, Clone, Copy)]
enum EntryValue {
    Absent,
    Once(Span),
    /// The values are merged if they are messages.
    Several,
}

impl<'a> Printer<'a, '_> {
    /// Prints the map that starts with `raw` and continues with the next fields of the same number. False if it is empty.
    pub(super) fn map_of_fields(
        &mut self,
        field: &FieldPlan,
        raw: RawField,
        fields: &mut Fields<'a>,
    ) -> Fallible<bool> {
        let base = self.entries.len();
        let mut next = Some(raw);
        while let Some(raw) = next {
            if self.is_value(field, &raw) {
                self.entry(field, raw.value)?;
            }
            next = fields.next_with(field.number)?;
        }
        let has_entries = self.entries.len() > base;
        self.map(field, base)?;
        Ok(has_entries)
    }

    /// Prints the map of a range of records. False if it is empty.
    pub(super) fn map_of_records(&mut self, field: &FieldPlan, from: usize, to: usize) -> Fallible<bool> {
        let base = self.entries.len();
        for at in from..to {
            self.entry(field, self.records[at].value)?;
        }
        let has_entries = self.entries.len() > base;
        self.map(field, base)?;
        Ok(has_entries)
    }

    fn entry_plan(&self, field: &FieldPlan) -> &'a MessagePlan {
        // A map has an entry message.
        self.plans.message(field.kind.message().unwrap_or_default())
    }

    /// Reads an entry. An entry with a value that a closed enum lacks is an unknown field.
    fn entry(&mut self, field: &FieldPlan, message: Span) -> Fallible<()> {
        let plan = self.entry_plan(field);
        let (key_field, value_field) = (plan.fixed(1), plan.fixed(2));
        let nothing = Span { start: message.start, end: message.start };
        let mut entry = Entry { message, text: nothing, number: 0, value: EntryValue::Absent, is_replaced: false };
        let mut fields = self.fields(message);
        while let Some(raw) = fields.next()? {
            match raw.number {
                1 if raw.wire_type == key_field.kind.wire_type() => match key_field.kind {
                    Kind::String => entry.text = raw.value,
                    kind => entry.number = key_number(kind, raw.value.of(self.input)),
                },
                2 if raw.wire_type == value_field.kind.wire_type() => {
                    if !self.is_open(value_field.kind, raw.value) {
                        return Ok(());
                    }
                    entry.value = match entry.value {
                        EntryValue::Absent => EntryValue::Once(raw.value),
                        EntryValue::Once(_) if value_field.kind.message().is_none() => EntryValue::Once(raw.value),
                        EntryValue::Once(_) | EntryValue::Several => EntryValue::Several,
                    };
                }
                _ => {}
            }
        }
        self.count(message)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Prints the entries from `base` on, and removes them.
    fn map(&mut self, field: &FieldPlan, base: usize) -> Fallible<()> {
        self.mark_replaced(base);
        let plan = self.entry_plan(field);
        self.enter(Content::Whole(self.entries.get(base).map_or(Span { start: 0, end: 0 }, |entry| entry.message)))?;
        self.out.push(b'{');
        let mut is_first = true;
        for at in base..self.entries.len() {
            let entry = self.entries[at];
            if entry.is_replaced {
                continue;
            }
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            self.map_key(plan.fixed(1).kind, &entry)?;
            self.out.push(b':');
            self.entry_value(plan, &entry).map_err(|fault| self.at_key(fault, plan.fixed(1).kind, &entry))?;
            self.check_output(entry.message)?;
        }
        self.out.push(b'}');
        self.entries.truncate(base);
        self.leave();
        Ok(())
    }

    fn map_key(&mut self, kind: Kind, entry: &Entry) -> Fallible<()> {
        if kind == Kind::String {
            let text = self.utf8(entry.text)?;
            put_string(self.out, text);
            return Ok(());
        }
        self.out.push(b'"');
        put_key(self.out, kind, entry.number);
        self.out.push(b'"');
        Ok(())
    }

    fn entry_value(&mut self, plan: &'a MessagePlan, entry: &Entry) -> Fallible<()> {
        let field = plan.fixed(2);
        match (entry.value, field.kind.message()) {
            (EntryValue::Once(value), _) => self.singular(field, value),
            (EntryValue::Absent, Some(id)) => {
                self.message(id, Content::Whole(Span { start: entry.message.end, end: entry.message.end }))
            }
            (EntryValue::Absent, None) => {
                self.default_value(field);
                Ok(())
            }
            (EntryValue::Several, _) => self.merged_value(plan, entry),
        }
    }

    /// Prints a message that an entry contains in several pieces.
    fn merged_value(&mut self, plan: &'a MessagePlan, entry: &Entry) -> Fallible<()> {
        let base = self.collect(plan, Content::Whole(entry.message))?;
        let index = plan.index_of(2).unwrap_or_default();
        let (from, to) = self.group_of(base, index);
        self.field_of_records(&plan.fields[index], from, to)?;
        self.records.truncate(base);
        Ok(())
    }

    fn at_key(&self, fault: Box<Fault>, kind: Kind, entry: &Entry) -> Box<Fault> {
        let mut text = Vec::new();
        match kind {
            Kind::String => text.extend_from_slice(entry.text.of(self.input)),
            _ => put_key(&mut text, kind, entry.number),
        }
        fault.at_key(&String::from_utf8_lossy(&text))
    }

    /// Marks the entries whose key a later entry has. Sorts many entries, so that the time does not grow with their
    /// square.
    fn mark_replaced(&mut self, base: usize) {
        let (input, entries) = (self.input, &mut self.entries[base..]);
        let key = |entry: &Entry| (entry.number, entry.text.of(input));
        if entries.len() <= FEW_ENTRIES {
            for at in 0..entries.len() {
                let (early, late) = entries.split_at_mut(at + 1);
                early[at].is_replaced = late.iter().any(|later| key(later) == key(&early[at]));
            }
            return;
        }
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|one, other| key(&entries[*one]).cmp(&key(&entries[*other])));
        for pair in order.windows(2) {
            entries[pair[0]].is_replaced = key(&entries[pair[0]]) == key(&entries[pair[1]]);
        }
    }
}

/// The number of a key that is no string, the same for all encodings of it.
fn key_number(kind: Kind, bytes: &[u8]) -> u64 {
    let raw = varint(bytes);
    match kind {
        Kind::Bool => u64::from(raw != 0),
        Kind::Int32 => i64::from(raw as i32) as u64,
        Kind::Uint32 => u64::from(raw as u32),
        Kind::Sint32 => i64::from(unzigzag(raw & 0xFFFF_FFFF) as i32) as u64,
        Kind::Sint64 => unzigzag(raw) as u64,
        Kind::Fixed32 => u64::from(fixed32(bytes)),
        Kind::Sfixed32 => i64::from(fixed32(bytes) as i32) as u64,
        Kind::Fixed64 | Kind::Sfixed64 => fixed64(bytes),
        _ => raw,
    }
}

/// Appends a key that is no string, without quotes.
fn put_key(out: &mut Vec<u8>, kind: Kind, number: u64) {
    let mut buffer = itoa::Buffer::new();
    let text = match kind {
        Kind::Bool if number == 0 => "false",
        Kind::Bool => "true",
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => buffer.format(number),
        _ => buffer.format(number as i64),
    };
    out.extend_from_slice(text.as_bytes());
}
