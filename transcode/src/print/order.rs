//! Decides whether a message can be printed as it stands.

use super::{Printer, scalar::varint};
use crate::{
    error::Fallible,
    plan::{Bits, FieldPlan, Kind, Label, MessagePlan},
    wire::{RawField, Span, WireType},
};

impl Printer<'_, '_> {
    /// Whether each known field stands in one piece, each singular field once, and at most one field of each oneof.
    pub(super) fn is_ordered(&mut self, plan: &MessagePlan, span: Span) -> Fallible<bool> {
        let mut seen = Bits::start(plan.seen_words, &mut self.seen);
        let mut fields = self.fields(span);
        let mut last = None;
        let mut is_ordered = true;
        while let Some(raw) = fields.next()? {
            let Some(index) = plan.index_of(raw.number) else {
                // A list that an unknown field interrupts is not in one piece.
                last = None;
                continue;
            };
            let field = &plan.fields[index];
            if last == Some(index) && field.label != Label::Singular {
                continue;
            }
            last = Some(index);
            let is_first = seen.mark(index, &mut self.seen);
            let is_only = field.oneof.is_none_or(|bit| seen.mark(bit as usize, &mut self.seen));
            is_ordered &= is_first && is_only;
        }
        seen.end(&mut self.seen);
        Ok(is_ordered)
    }

    /// Whether the field on the wire is a value of the field: its wire type fits, and it is no number that a closed enum
    /// lacks. Otherwise it is an unknown field.
    #[inline]
    pub(super) fn is_value(&self, field: &FieldPlan, raw: &RawField) -> bool {
        let is_packed = matches!(field.label, Label::List { .. }) && field.kind.is_packable();
        if raw.wire_type == WireType::Length && is_packed {
            return true;
        }
        raw.wire_type == field.kind.wire_type() && self.is_open(field.kind, raw.value)
    }

    /// Whether the value is none that a closed enum lacks.
    #[inline]
    pub(super) fn is_open(&self, kind: Kind, value: Span) -> bool {
        !matches!(kind, Kind::Enum(_)) || self.has_name(kind, varint(value.of(self.input)))
    }

    /// Whether the number of an enum value has a name, or needs none.
    #[inline]
    pub(super) fn has_name(&self, kind: Kind, raw: u64) -> bool {
        let Kind::Enum(id) = kind else { return true };
        let plan = self.plans.enumeration(id);
        !plan.is_closed || plan.quoted_name(raw as i32).is_some()
    }
}
