//! Objects that are maps. Each member becomes an entry message. Two equal keys are an error.

use super::{Parser, scalar};
use crate::{
    error::{ErrorKind, Fallible, Fault},
    plan::{FieldPlan, Kind},
    wire::put_varint,
};

/// Maps with up to so many keys are compared pairwise.
const FEW_KEYS: usize = 8;

/// A key of a map: where the output has it, and where the input has it. Bytes of the output stay in place until the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    start: usize,
    end: usize,
    position: usize,
}

impl<'a> Parser<'a, '_> {
    pub(super) fn map(&mut self, field: &'a FieldPlan) -> Fallible<()> {
        let Some(entry) = field.kind.message().map(|id| self.plans.message(id)) else { return Ok(()) };
        let (key_field, value_field) = (entry.fixed(1), entry.fixed(2));
        self.reader.expect(b'{', "an object")?;
        self.enter()?;
        let base = self.keys.len();
        let mut is_first = true;
        while self.reader.next_member(is_first)? {
            is_first = false;
            self.reader.peek();
            let position = self.reader.position();
            let text = self.reader.key()?;
            let entry_start = self.out.len();
            self.put_tag(&field.tag);
            let open = self.lengths.open(self.out);
            let start = self.key(key_field, &text, position).map_err(|fault| fault.at_key(&text))?;
            self.keys.push(Key { start, end: self.out.len(), position });
            let is_set = self.singular(value_field, true).map_err(|fault| fault.at_key(&text))?;
            if is_set {
                self.lengths.close(self.out, open);
            } else {
                self.keys.pop();
                self.lengths.cancel(self.out, open);
                self.out.truncate(entry_start);
            }
            self.check_output()?;
        }
        self.check_keys(base)?;
        self.leave();
        Ok(())
    }

    /// Writes a key, and returns where its value starts in the output.
    fn key(&mut self, field: &FieldPlan, text: &str, position: usize) -> Fallible<usize> {
        self.put_tag(&field.tag);
        let start = self.out.len();
        if field.kind == Kind::String {
            put_varint(self.out, text.len() as u64);
            self.out.extend_from_slice(text.as_bytes());
            return Ok(start);
        }
        let value = match (field.kind, text) {
            (Kind::Bool, "true") => scalar::Scalar::Varint(1),
            (Kind::Bool, "false") => scalar::Scalar::Varint(0),
            (Kind::Bool, _) => {
                return Err(Fault::new(ErrorKind::Value, position, "the key must be \"true\" or \"false\""));
            }
            (kind, _) => scalar::integer_from_text(kind, text, position)?,
        };
        value.put(self.out);
        Ok(start)
    }

    /// Fails if two keys of the current map are equal. Sorts, so that the time does not grow with the square of the keys.
    fn check_keys(&mut self, base: usize) -> Fallible<()> {
        let (out, keys) = (&*self.out, &mut self.keys[base..]);
        let bytes = |key: &Key| &out[key.start..key.end];
        let twin = if keys.len() <= FEW_KEYS {
            (1..keys.len())
                .find(|at| keys[..*at].iter().any(|other| bytes(other) == bytes(&keys[*at])))
                .map(|at| keys[at])
        } else {
            keys.sort_by(|one, other| bytes(one).cmp(bytes(other)));
            keys.windows(2).find(|pair| bytes(&pair[0]) == bytes(&pair[1])).map(|pair| pair[1])
        };
        if let Some(Key { position, .. }) = twin {
            self.reader.rewind(position);
            let key = self.reader.key()?;
            return Err(Fault::new(ErrorKind::Duplicate, position, "the key occurs twice: send it once").at_key(&key));
        }
        self.keys.truncate(base);
        Ok(())
    }
}
