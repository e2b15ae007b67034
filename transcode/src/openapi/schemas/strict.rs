//! Messages that only requests have: a member that the contract does not name is an error.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

const PREFIX: &str = "#/components/schemas/";

/// Closes the schemas of messages that no response contains.
pub(super) fn apply(all: &mut Map<String, Value>, responses: &[Value]) {
    let open = reachable(all, responses);
    for (name, schema) in all {
        let is_closed = !open.contains(name);
        if let Some(members) = schema.as_object_mut().filter(|members| is_closed && members.contains_key("properties"))
        {
            members.insert("additionalProperties".into(), false.into());
        }
    }
}

/// The names of the schemas that `roots` refer to, directly or not.
fn reachable(all: &Map<String, Value>, roots: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut names = Vec::new();
    roots.iter().for_each(|root| references(root, &mut names));
    while let Some(name) = names.pop() {
        if let Some(schema) = all.get(&name).filter(|_| found.insert(name.clone())) {
            references(schema, &mut names);
        }
    }
    found
}

fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix(PREFIX));
            names.extend(name.map(str::to_owned));
            members.values().for_each(|value| references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}
