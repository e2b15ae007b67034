//! The fields that a query string has set.

use std::collections::{HashMap, HashSet};

use crate::FieldPath;

/// Refuses a second value of a field that is not repeated, and a second member of a oneof.
#[derive(Debug, Default)]
pub(super) struct Seen {
    fields: HashSet<Vec<usize>>,
    /// The member that is set, by the message and its oneof.
    members: HashMap<(Vec<usize>, u32), usize>,
}

impl Seen {
    pub(super) fn insert(&mut self, field: &FieldPath) -> Result<(), String> {
        let mut steps = Vec::new();
        for (index, oneof) in field.positions() {
            if let Some(oneof) = oneof
                && *self.members.entry((steps.clone(), oneof)).or_insert(index) != index
            {
                return Err("it excludes an earlier parameter: both belong to one `oneof`, so send one of them".into());
            }
            steps.push(index);
        }
        if field.is_list() || self.fields.insert(steps) {
            return Ok(());
        }
        Err("it occurs twice: send it once".into())
    }
}
