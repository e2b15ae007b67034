//! The members of an object that is a message.

use super::{Content, Printer};
use crate::{
    error::Fallible,
    plan::{FieldPlan, Kind, Label, MessagePlan},
    wire::{Fields, RawField, Span},
};

impl<'a> Printer<'a, '_> {
    /// Prints the members of a message without the braces. `is_first` is false if another member stands in front.
    pub(super) fn members(&mut self, plan: &'a MessagePlan, content: Content, is_first: bool) -> Fallible<()> {
        match content {
            Content::Whole(span)
                if !self.options.always_print_fields_with_no_presence && self.is_ordered(plan, span)? =>
            {
                self.as_they_stand(plan, span, is_first)
            }
            _ => self.sorted(plan, content, is_first),
        }
    }

    fn as_they_stand(&mut self, plan: &'a MessagePlan, span: Span, mut is_first: bool) -> Fallible<()> {
        let mut fields = self.fields(span);
        while let Some(raw) = fields.next()? {
            let Some(index) = plan.index_of(raw.number) else { continue };
            let field = &plan.fields[index];
            let start = self.out.len();
            self.member_key(field, is_first);
            let printed = self.member(field, raw, &mut fields).map_err(|fault| fault.in_field(&field.json_name))?;
            if printed {
                is_first = false;
            } else {
                self.out.truncate(start);
            }
            self.check_output(raw.value)?;
        }
        Ok(())
    }

    /// Prints the value of a field that starts with `raw`, and reads over all of it. False if the field has no value.
    #[inline]
    fn member(&mut self, field: &FieldPlan, raw: RawField, fields: &mut Fields<'a>) -> Fallible<bool> {
        match field.label {
            Label::Singular if !self.is_value(field, &raw) => return Ok(false),
            Label::Singular => {
                if !field.has_presence && self.is_default(field.kind, raw.value) {
                    return Ok(false);
                }
                self.singular(field, raw.value)?;
            }
            Label::List { .. } => return self.list_of_fields(field, raw, fields),
            Label::Map => return self.map_of_fields(field, raw, fields),
        }
        Ok(true)
    }

    fn sorted(&mut self, plan: &'a MessagePlan, content: Content, mut is_first: bool) -> Fallible<()> {
        let base = self.collect(plan, content)?;
        let prints_defaults = self.options.always_print_fields_with_no_presence;
        let mut from = base;
        for (field, index) in plan.fields.iter().zip(0..) {
            let mut to = from;
            while self.records.get(to).is_some_and(|record| record.field == index) {
                to += 1;
            }
            let start = self.out.len();
            let position = self.start_of(content);
            self.member_key(field, is_first);
            let is_printed = self.sorted_member(field, from, to).map_err(|fault| fault.in_field(&field.json_name))?;
            if !is_printed && !field.has_presence && prints_defaults {
                self.default_value(field);
                is_first = false;
            } else if is_printed {
                is_first = false;
            } else {
                self.out.truncate(start);
            }
            self.check_output(position)?;
            from = to;
            if from == self.records.len() && !prints_defaults {
                break;
            }
        }
        self.records.truncate(base);
        Ok(())
    }

    /// Prints the value of a field from its records. False if it has none, or the default value without presence.
    fn sorted_member(&mut self, field: &FieldPlan, from: usize, to: usize) -> Fallible<bool> {
        if from == to {
            return Ok(false);
        }
        let is_plain = field.label == Label::Singular && !field.has_presence;
        if is_plain && self.is_default(field.kind, self.records[to - 1].value) {
            return Ok(false);
        }
        self.field_of_records(field, from, to)
    }

    fn member_key(&mut self, field: &FieldPlan, is_first: bool) {
        if !is_first {
            self.out.push(b',');
        }
        self.key(field);
    }

    /// Prints the default value of a field without presence. The default of an enum is its first value.
    pub(super) fn default_value(&mut self, field: &FieldPlan) {
        let text: &[u8] = match (field.label, field.kind) {
            (Label::List { .. }, _) => b"[]",
            (Label::Map, _) => b"{}",
            (_, Kind::String | Kind::Bytes) => b"\"\"",
            (_, Kind::Bool) => b"false",
            (_, Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64) => b"\"0\"",
            (_, Kind::Enum(id)) => return self.enum_value(id, self.plans.enumeration(id).default),
            (_, Kind::Message(_) | Kind::Group(_)) => b"null",
            _ => b"0",
        };
        self.out.extend_from_slice(text);
    }
}
