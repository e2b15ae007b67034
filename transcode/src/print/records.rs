//! The fields of a message whose order on the wire is not that of JSON.

use super::{Content, Printer};
use crate::{
    error::Fallible,
    plan::{Label, MessagePlan},
    wire::{Span, WireType},
};

/// A value of a field on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// The index of the field in its message.
    pub(super) field: u32,
    pub(super) wire_type: WireType,
    pub(super) value: Span,
}

impl Printer<'_, '_> {
    /// Collects the values of all known fields of a message, sorted by field and in the order of the wire. Returns where
    /// the records start; they end with the last record.
    ///
    /// Of a oneof, only the values behind the last value of another member remain.
    pub(super) fn collect(&mut self, plan: &MessagePlan, content: Content) -> Fallible<usize> {
        let base = self.records.len();
        match content {
            Content::Whole(span) => self.collect_piece(plan, span)?,
            Content::Pieces { from, to } => {
                for at in from..to {
                    self.collect_piece(plan, self.records[at].value)?;
                }
            }
        }
        self.drop_cleared(plan, base);
        self.records[base..].sort_by_key(|record| record.field);
        Ok(base)
    }

    fn collect_piece(&mut self, plan: &MessagePlan, span: Span) -> Fallible<()> {
        let mut fields = self.fields(span);
        while let Some(raw) = fields.next()? {
            let Some(index) = plan.index_of(raw.number) else { continue };
            if self.is_value(&plan.fields[index], &raw) {
                self.records.push(Record { field: index as u32, wire_type: raw.wire_type, value: raw.value });
            }
        }
        Ok(())
    }

    /// Removes the values that a later member of the same oneof clears.
    fn drop_cleared(&mut self, plan: &MessagePlan, base: usize) {
        if plan.fields.iter().all(|field| field.oneof.is_none()) {
            return;
        }
        // For each oneof: the member that is set, and whether an earlier other one was found.
        let mut last: Vec<(u32, u32, bool)> = Vec::new();
        let mut kept = self.records.len();
        for at in (base..self.records.len()).rev() {
            let record = self.records[at];
            if let Some(oneof) = plan.fields[record.field as usize].oneof {
                match last.iter_mut().find(|(known, ..)| *known == oneof) {
                    None => last.push((oneof, record.field, false)),
                    Some((_, field, is_cleared)) => {
                        *is_cleared |= *field != record.field;
                        if *is_cleared {
                            continue;
                        }
                    }
                }
            }
            kept -= 1;
            self.records[kept] = record;
        }
        self.records.drain(base..kept);
    }

    /// The records of a field among those from `base` on.
    pub(super) fn group_of(&self, base: usize, field: usize) -> (usize, usize) {
        let records = &self.records[base..];
        let from = records.partition_point(|record| (record.field as usize) < field);
        let to = records.partition_point(|record| record.field as usize <= field);
        (base + from, base + to)
    }

    /// Prints the value of a field from its records. False if a list or map is empty.
    pub(super) fn field_of_records(
        &mut self,
        field: &crate::plan::FieldPlan,
        from: usize,
        to: usize,
    ) -> Fallible<bool> {
        match (field.label, field.kind.message()) {
            (Label::List { .. }, _) => return self.list_of_records(field, from, to),
            (Label::Map, _) => return self.map_of_records(field, from, to),
            (Label::Singular, Some(id)) if to - from > 1 => self.message(id, Content::Pieces { from, to })?,
            // The last value of a scalar counts.
            (Label::Singular, _) => self.singular(field, self.records[to - 1].value)?,
        }
        Ok(true)
    }
}
