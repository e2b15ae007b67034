//! A table from names to values that is built once and then only read.
//!
//! Open addressing over the hash of a name's length, first and last bytes. The names come from descriptors and the table
//! never grows, so that a lookup with a hostile name costs at most the longest run of occupied slots.

/// Names and their values.
#[derive(Debug)]
pub(crate) struct NameTable<V> {
    /// 0 for an empty slot, otherwise an index into `entries`, plus one. The length is a power of two.
    slots: Box<[u32]>,
    entries: Box<[(Box<str>, V)]>,
}

impl<V: Copy> NameTable<V> {
    /// Of several values with one name the first counts.
    pub(crate) fn new(names: impl IntoIterator<Item = (String, V)>) -> Self {
        let all: Vec<(Box<str>, V)> = names.into_iter().map(|(name, value)| (name.into_boxed_str(), value)).collect();
        let mut slots = vec![0; (all.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        let mut entries: Vec<(Box<str>, V)> = Vec::with_capacity(all.len());
        for (name, value) in all {
            let mut slot = start(name.as_bytes(), slots.len());
            while slots[slot] != 0 && entries[slots[slot] as usize - 1].0 != name {
                slot = (slot + 1) & (slots.len() - 1);
            }
            if slots[slot] == 0 {
                entries.push((name, value));
                slots[slot] = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            }
        }
        Self { slots, entries: entries.into_boxed_slice() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<V> {
        let mut slot = start(name.as_bytes(), self.slots.len());
        loop {
            let (known, value) = self.entries.get((self.slots[slot] as usize).checked_sub(1)?)?;
            if **known == *name {
                return Some(*value);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }
}

/// The slot at which the search for a name starts.
fn start(name: &[u8], slots: usize) -> usize {
    let word = |part: &[u8]| part.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let edge = name.len().min(8);
    let mixed = (word(&name[..edge]) ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ word(&name[name.len() - edge..]).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    // The high bits of a product depend on all bits of its factors.
    (mixed ^ mixed >> 32) as usize & (slots - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_name_and_no_other() {
        let names: Vec<String> = (0..500).map(|n| format!("some_field_{n}_name")).collect();
        let table = NameTable::new(names.iter().cloned().zip(0..));
        for (at, name) in names.iter().enumerate() {
            assert_eq!(table.get(name), Some(at));
        }
        for other in ["", "a", "some_field_500_name", "some_field_1_name "] {
            assert_eq!(table.get(other), None);
        }
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        assert_eq!(NameTable::<u32>::new([]).get("a"), None);
    }

    #[test]
    fn the_first_of_two_equal_names_counts() {
        assert_eq!(NameTable::new([("a".to_owned(), 1), ("a".to_owned(), 2)]).get("a"), Some(1));
    }
}
