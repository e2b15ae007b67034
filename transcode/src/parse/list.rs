//! Arrays.

use super::Parser;
use crate::{error::Fallible, plan::FieldPlan};

impl<'a> Parser<'a, '_> {
    /// Writes the elements of an array. An empty array writes nothing.
    pub(super) fn list(&mut self, field: &'a FieldPlan, is_packed: bool) -> Fallible<()> {
        self.reader.expect(b'[', "an array")?;
        if is_packed { self.packed(field) } else { self.unpacked(field) }
    }

    fn unpacked(&mut self, field: &'a FieldPlan) -> Fallible<()> {
        let mut index = 0;
        while self.reader.next_element(index == 0)? {
            self.singular(field, true).map_err(|fault| fault.at_index(index))?;
            index += 1;
        }
        Ok(())
    }

    fn packed(&mut self, field: &'a FieldPlan) -> Fallible<()> {
        let start = self.out.len();
        self.put_tag(&field.packed_tag);
        let open = self.lengths.open(self.out);
        let mut index = 0;
        while self.reader.next_element(index == 0)? {
            self.scalar(field.kind, None, true).map_err(|fault| fault.at_index(index))?;
            index += 1;
        }
        if self.lengths.is_empty(self.out, &open) {
            self.lengths.cancel(self.out, open);
            self.out.truncate(start);
        } else {
            self.lengths.close(self.out, open);
        }
        Ok(())
    }
}
