//! Lists.

use super::Printer;
use crate::{
    error::{ErrorKind, Fallible, Fault},
    plan::{FieldPlan, Kind},
    wire::{Fields, RawField, Span, WireType, varint},
};

/// An array that is being printed.
struct Array {
    start: usize,
    /// The elements so far.
    length: usize,
}

impl<'a> Printer<'a, '_> {
    /// Prints the list that starts with `raw` and continues with the next fields of the same number. False if it is empty.
    pub(super) fn list_of_fields(
        &mut self,
        field: &FieldPlan,
        raw: RawField,
        fields: &mut Fields<'a>,
    ) -> Fallible<bool> {
        let mut array = self.array();
        let mut next = Some(raw);
        while let Some(raw) = next {
            if self.is_value(field, &raw) {
                self.elements(field, raw.wire_type, raw.value, &mut array)?;
            }
            next = fields.next_with(field.number)?;
        }
        Ok(self.end_array(&array))
    }

    /// Prints the list of a range of records. False if it is empty.
    pub(super) fn list_of_records(&mut self, field: &FieldPlan, from: usize, to: usize) -> Fallible<bool> {
        let mut array = self.array();
        for at in from..to {
            let record = self.records[at];
            self.elements(field, record.wire_type, record.value, &mut array)?;
        }
        Ok(self.end_array(&array))
    }

    fn array(&mut self) -> Array {
        self.out.push(b'[');
        Array { start: self.out.len(), length: 0 }
    }

    fn end_array(&mut self, array: &Array) -> bool {
        self.out.push(b']');
        array.length > 0 && self.out.len() > array.start
    }

    /// Prints one element, or the elements of a packed field.
    fn elements(&mut self, field: &FieldPlan, wire_type: WireType, value: Span, array: &mut Array) -> Fallible<()> {
        if wire_type == WireType::Length && field.kind.is_packable() {
            return self.packed(field.kind, value, array);
        }
        self.next_element(array, value)?;
        self.singular(field, value).map_err(|fault| fault.at_index(array.length - 1))?;
        self.check_output(value)
    }

    fn packed(&mut self, kind: Kind, value: Span, array: &mut Array) -> Fallible<()> {
        let bytes = value.of(self.input);
        match kind.wire_type() {
            WireType::Fixed32 => {
                let (elements, rest) = bytes.as_chunks();
                for element in elements {
                    self.next_element(array, value)?;
                    self.number_of_bits_32(kind, u32::from_le_bytes(*element));
                }
                self.check_packed(rest, value)
            }
            WireType::Fixed64 => {
                let (elements, rest) = bytes.as_chunks();
                for element in elements {
                    self.next_element(array, value)?;
                    self.number_of_bits_64(kind, u64::from_le_bytes(*element));
                }
                self.check_packed(rest, value)
            }
            _ => self.packed_varints(kind, value, array),
        }
    }

    fn packed_varints(&mut self, kind: Kind, value: Span, array: &mut Array) -> Fallible<()> {
        let mut rest = value.of(self.input);
        while !rest.is_empty() {
            let Some((raw, length)) = varint(rest) else { break };
            rest = &rest[length..];
            if self.has_name(kind, raw) {
                self.next_element(array, value)?;
                self.number_of_varint(kind, raw);
            }
        }
        self.check_packed(rest, value)
    }

    /// Fails if bytes are left behind the last element.
    fn check_packed(&self, rest: &[u8], value: Span) -> Fallible<()> {
        if !rest.is_empty() {
            let offset = value.end as usize - rest.len();
            return Err(Fault::new(ErrorKind::Wire, offset, "a packed element is truncated or too long"));
        }
        self.check_output(value)
    }

    #[inline]
    fn next_element(&mut self, array: &mut Array, value: Span) -> Fallible<()> {
        self.count(value)?;
        if array.length > 0 {
            self.out.push(b',');
        }
        array.length += 1;
        Ok(())
    }
}
