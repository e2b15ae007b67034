//! Messages with a JSON form of their own.

use super::{
    Content, Printer,
    scalar::{fixed64, varint},
    unrepresentable,
};
use crate::{
    error::Fallible,
    plan::{MessagePlan, Shape},
    text::{field_mask, time},
    wire::Span,
};

impl<'a> Printer<'a, '_> {
    /// Prints a timestamp or a duration.
    pub(super) fn time(&mut self, plan: &'a MessagePlan, content: Content) -> Fallible<()> {
        let [seconds, nanos] =
            self.last_values(plan, content)?.map(|value| value.map_or(0, |value| varint(value.of(self.input))));
        let (seconds, nanos) = (seconds as i64, nanos as i32);
        self.out.push(b'"');
        let (is_valid, problem) = match plan.shape {
            Shape::Timestamp => {
                (time::put_timestamp(self.out, seconds, nanos), "the timestamp is not in the years 1 to 9999")
            }
            _ => {
                let problem = "the duration exceeds 315576000000 seconds, or its parts have different signs";
                (time::put_duration(self.out, seconds, nanos), problem)
            }
        };
        self.out.push(b'"');
        if is_valid { Ok(()) } else { Err(unrepresentable(self.start_of(content), problem)) }
    }

    /// The last values of the fields 1 and 2.
    pub(super) fn last_values(&self, plan: &MessagePlan, content: Content) -> Fallible<[Option<Span>; 2]> {
        let mut last = [None; 2];
        match content {
            Content::Whole(span) => self.last_values_of_piece(plan, span, &mut last)?,
            Content::Pieces { from, to } => {
                for record in &self.records[from..to] {
                    self.last_values_of_piece(plan, record.value, &mut last)?;
                }
            }
        }
        Ok(last)
    }

    fn last_values_of_piece(&self, plan: &MessagePlan, span: Span, last: &mut [Option<Span>; 2]) -> Fallible<()> {
        let mut fields = self.fields(span);
        while let Some(raw) = fields.next()? {
            let slot = (raw.number as usize).checked_sub(1).and_then(|at| last.get_mut(at));
            if let Some(slot) = slot.filter(|_| self.is_value(plan.fixed(raw.number), &raw)) {
                *slot = Some(raw.value);
            }
        }
        Ok(())
    }

    pub(super) fn field_mask(&mut self, plan: &'a MessagePlan, content: Content) -> Fallible<()> {
        let base = self.collect(plan, content)?;
        self.out.push(b'"');
        for at in base..self.records.len() {
            if at > base {
                self.out.push(b',');
            }
            let value = self.records[at].value;
            let path = self.utf8(value)?;
            if !field_mask::put_camel_case(self.out, path) {
                return Err(unrepresentable(value, "a path of the field mask has no form in lowerCamelCase"));
            }
        }
        self.out.push(b'"');
        self.records.truncate(base);
        Ok(())
    }

    /// Prints a message that JSON represents by the value of its only field.
    pub(super) fn only_field(&mut self, plan: &'a MessagePlan, content: Content) -> Fallible<()> {
        let base = self.collect(plan, content)?;
        let field = plan.fixed(1);
        let end = self.records.len();
        if base == end {
            self.default_value(field);
        } else {
            self.field_of_records(field, base, end)?;
        }
        self.records.truncate(base);
        Ok(())
    }

    /// Prints a `Value`. One without content is `null`.
    pub(super) fn value(&mut self, plan: &'a MessagePlan, content: Content) -> Fallible<()> {
        let base = self.collect(plan, content)?;
        let end = self.records.len();
        match self.records.last().copied().filter(|_| end > base) {
            None => self.out.extend_from_slice(b"null"),
            Some(last) => {
                let field = &plan.fields[last.field as usize];
                if field.number == 2 && !f64::from_bits(fixed64(last.value.of(self.input))).is_finite() {
                    return Err(unrepresentable(last.value, "a Value is not a finite number"));
                }
                self.field_of_records(field, base, end)?;
            }
        }
        self.records.truncate(base);
        Ok(())
    }
}
