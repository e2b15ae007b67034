//! The members of an object that is a message.

use super::Parser;
use crate::{
    error::{ErrorKind, Fallible, Fault},
    plan::{Bits, MessagePlan},
};

impl<'a> Parser<'a, '_> {
    pub(super) fn object(&mut self, plan: &'a MessagePlan) -> Fallible<()> {
        self.reader.expect(b'{', "an object")?;
        self.members(plan, true, None)
    }

    /// Reads the members up to the closing brace. `is_first` is false behind the first member. In an `Any`, `types` is how
    /// many members `@type` are left.
    pub(super) fn members(
        &mut self,
        plan: &'a MessagePlan,
        mut is_first: bool,
        mut types: Option<usize>,
    ) -> Fallible<()> {
        let mut seen = Bits::start(plan.seen_words, &mut self.seen);
        // Most texts list the fields in the order of their numbers.
        let mut guess = 0;
        while self.reader.next_member(is_first)? {
            is_first = false;
            self.reader.peek();
            let start = self.reader.position();
            let key = self.reader.key()?;
            let guessed = plan.fields.get(guess).is_some_and(|field| *field.json_name == *key);
            let found = if guessed { Some(guess) } else { plan.names.get(&key).map(|index| index as usize) };
            let Some(index) = found else {
                match types.as_mut().filter(|_| key == "@type") {
                    Some(left) => self.type_member(left, start)?,
                    None => self.unknown_member(plan, &key, start)?,
                }
                continue;
            };
            guess = index + 1;
            let field = &plan.fields[index];
            if !seen.mark(index, &mut self.seen) {
                let message = "the field occurs twice: send it once";
                return Err(Fault::new(ErrorKind::Duplicate, start, message).in_field(&key));
            }
            let is_set = self.field(field).map_err(|fault| fault.in_field(&key))?;
            if let Some(bit) = field.oneof.filter(|_| is_set)
                && !seen.mark(bit as usize, &mut self.seen)
            {
                let message = "another field of the same oneof is set: send one of them";
                return Err(Fault::new(ErrorKind::Duplicate, start, message).in_field(&key));
            }
        }
        seen.end(&mut self.seen);
        Ok(())
    }

    /// Reads over the type of an `Any`, which is known already.
    pub(super) fn type_member(&mut self, left: &mut usize, start: usize) -> Fallible<()> {
        match left.checked_sub(1) {
            Some(rest) => *left = rest,
            None => {
                let message = "the type occurs twice: send it once";
                return Err(Fault::new(ErrorKind::Duplicate, start, message).in_field("@type"));
            }
        }
        self.reader.skip()
    }

    #[cold]
    pub(super) fn unknown_member(&mut self, plan: &MessagePlan, key: &str, start: usize) -> Fallible<()> {
        if self.ignore_unknown {
            return self.reader.skip().map_err(|fault| fault.in_field(key));
        }
        let message = format!("{} has no such field: correct the name or remove the member", plan.full_name);
        Err(Fault::new(ErrorKind::Unknown, start, message).in_field(key))
    }
}
