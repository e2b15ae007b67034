//! Finds the objects to which the fields of a response refer, and loads them: those of all elements of a list together.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    ptr,
};

use serde_json::value::RawValue;

use crate::{
    budget::Share,
    fields::{Count, Member, Resolve, Shape},
    json_text::{all_members, elements, is_null, members, text},
    loader::{Found, Objects},
    plan::Node,
    stop::Stop,
};

/// What a visit takes in memory besides the id.
const VISIT: usize = 96;

/// Loads the objects to which the fields `nodes` of `roots` refer, and those to which these refer.
pub(crate) async fn load<'p>(
    roots: impl IntoIterator<Item = (&'p [Node], &RawValue)>,
    objects: &mut Objects<'_>,
    share: Share,
) -> Result<(), Stop> {
    let mut walk = ReferenceWalk { visits: Vec::new(), seen: HashSet::new(), share };
    for (nodes, object) in roots {
        walk.fields(nodes, &all_members(object)?)?;
    }
    while !walk.visits.is_empty() {
        let visits = std::mem::take(&mut walk.visits);
        let mut wanted: HashMap<usize, BTreeSet<String>> = HashMap::new();
        for Visit { batch, id, .. } in &visits {
            wanted.entry(*batch).or_default().insert(id.clone());
        }
        objects.load(wanted).await?;
        for Visit { node, batch, id } in visits.iter().filter(|visit| visit.node.has_references) {
            if let Some(Found::Object(object)) = objects.get(*batch, id) {
                walk.fields(&node.children, &all_members(object.json()?)?)?;
            }
        }
    }
    Ok(())
}

/// The references that were found.
struct ReferenceWalk<'p> {
    visits: Vec<Visit<'p>>,
    /// The addresses of the fields, and the ids: an object is visited once for each field of the operation.
    seen: HashSet<(usize, String)>,
    share: Share,
}

/// A field that refers to an object.
struct Visit<'p> {
    node: &'p Node,
    batch: usize,
    id: String,
}

impl<'p> ReferenceWalk<'p> {
    fn fields(&mut self, nodes: &'p [Node], object: &[(Cow<'_, str>, &RawValue)]) -> Result<(), Stop> {
        let find = |name: &str| object.iter().find(|(of, _)| of == name).map(|(_, value)| *value);
        for node in nodes {
            match node.resolve() {
                Some(Resolve::Reference { json_name, batch, is_list }) => match find(json_name) {
                    Some(ids) if *is_list && !is_null(ids) => elements(ids, |id| self.add(node, *batch, id))?,
                    Some(id) => self.add(node, *batch, id)?,
                    None => {}
                },
                Some(Resolve::Member(Member { json_name, shape: Shape::Object, count })) if node.has_references => {
                    if let Some(value) = find(json_name).filter(|value| !is_null(value)) {
                        self.member(node, *count, value)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn member(&mut self, node: &'p Node, count: Count, value: &RawValue) -> Result<(), Stop> {
        match count {
            Count::One => self.fields(&node.children, &all_members(value)?),
            Count::List => elements(value, |element| self.fields(&node.children, &all_members(element)?)),
            Count::Map(_) => {
                members(value, |(_, value)| self.fields(&node.children, &[(Cow::Borrowed("value"), value)]))
            }
        }
    }

    fn add(&mut self, node: &'p Node, batch: usize, id: &RawValue) -> Result<(), Stop> {
        let Some(id) = text(id).filter(|id| !id.is_empty()) else { return Ok(()) };
        let id = id.into_owned();
        if self.seen.insert((ptr::from_ref(node) as usize, id.clone())) {
            self.share.hold(VISIT + 2 * id.len())?;
            self.visits.push(Visit { node, batch, id });
        }
        Ok(())
    }
}
