//! The schema as clients read it: its whole description as JSON, of which introspection selects fields like those of any
//! response.

use std::{collections::HashMap, ops::Range};

use async_graphql::{Request, dynamic::Schema};
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    fields::{Count, FIELD, Fields, Member, QUERY, Resolve, Shape},
    json_text::{all_members, elements, text},
    stop::Stop,
};

/// The argument of `__type`.
pub(crate) const TYPE_NAME: &str = "name";
/// The argument of lists that may leave out deprecated elements.
pub(crate) const INCLUDE_DEPRECATED: &str = "includeDeprecated";

/// Selects all that introspection describes. Types within others need only their names.
const WHOLE: &str = "{ __schema { description queryType { ...Ref } mutationType { ...Ref } subscriptionType { ...Ref } \
    types { kind name description specifiedByURL isOneOf interfaces { ...Ref } possibleTypes { ...Ref } \
    fields(includeDeprecated: true) { name description isDeprecated deprecationReason type { ...Ref } \
    args(includeDeprecated: true) { ...Input } } \
    inputFields(includeDeprecated: true) { ...Input } \
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } } \
    directives { name description locations isRepeatable args(includeDeprecated: true) { ...Input } } } } \
    fragment Input on __InputValue { name description defaultValue isDeprecated deprecationReason type { ...Ref } } \
    fragment Ref on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

/// The fields that are no objects.
const SCALARS: [(&str, &[&str]); 6] = [
    ("__Schema", &["description"]),
    ("__Type", &["kind", "name", "description", "specifiedByURL", "isOneOf"]),
    ("__Field", &["name", "description", "isDeprecated", "deprecationReason"]),
    ("__InputValue", &["name", "description", "defaultValue", "isDeprecated", "deprecationReason"]),
    ("__EnumValue", &["name", "description", "isDeprecated", "deprecationReason"]),
    ("__Directive", &["name", "description", "locations", "isRepeatable"]),
];
/// The fields that are types, or lists of types.
const TYPES: [(&str, &[&str]); 4] = [
    ("__Schema", &["queryType", "mutationType", "subscriptionType"]),
    ("__Type", &["ofType", "interfaces", "possibleTypes"]),
    ("__Field", &["type"]),
    ("__InputValue", &["type"]),
];
/// The lists that may have deprecated elements.
const DESCRIBED: [(&str, &str, &str); 5] = [
    ("__Type", "fields", "__Field"),
    ("__Type", "inputFields", "__InputValue"),
    ("__Type", "enumValues", "__EnumValue"),
    ("__Field", "args", "__InputValue"),
    ("__Directive", "args", "__InputValue"),
];
/// Other lists.
const LISTS: [(&str, &str, &str); 2] = [("__Schema", "types", "__Type"), ("__Schema", "directives", "__Directive")];

/// Adds the fields of introspection.
pub(crate) fn register(fields: &mut Fields) {
    fields.add(QUERY, "__schema", "__Schema", FIELD, Resolve::Schema);
    fields.add(QUERY, "__type", "__Type", FIELD, Resolve::Type);
    let member = |name: &str, shape, count| Resolve::Member(Member { json_name: name.to_owned(), shape, count });
    for (parent, names) in SCALARS {
        for name in names {
            fields.add(parent, name, "", FIELD, member(name, Shape::Scalar, Count::One));
        }
    }
    for (parent, names) in TYPES {
        for json_name in names {
            fields.add(parent, json_name, "__Type", FIELD, Resolve::TypeOf { json_name });
        }
    }
    for (parent, json_name, of) in DESCRIBED {
        fields.add(parent, json_name, of, FIELD, Resolve::Described { json_name });
    }
    for (parent, name, of) in LISTS {
        fields.add(parent, name, of, FIELD, member(name, Shape::Object, Count::List));
    }
}

/// The description of a schema.
#[derive(Debug)]
pub(crate) struct SchemaText {
    whole: Box<RawValue>,
    /// Where each type stands.
    types: HashMap<String, Range<usize>>,
}

/// The response to [`WHOLE`].
#[derive(Deserialize)]
struct Whole {
    #[serde(rename = "__schema")]
    schema: Box<RawValue>,
}

impl SchemaText {
    /// Describes a schema; `None`: the executor does not.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        let response = schema.execute(Request::new(WHOLE)).now_or_never()?;
        let Whole { schema: whole } = serde_json::from_str(&serde_json::to_string(&response.data).ok()?).ok()?;
        let types = types(&whole).ok().filter(|_| response.errors.is_empty())?;
        Some(Self { whole, types })
    }

    pub(crate) fn whole(&self) -> &RawValue {
        &self.whole
    }

    /// The description of a type; `None`: there is no such type.
    pub(crate) fn of_type(&self, name: &str) -> Option<&RawValue> {
        serde_json::from_str(self.whole.get().get(self.types.get(name)?.clone())?).ok()
    }
}

/// Where each type stands in the description of a schema.
fn types(whole: &RawValue) -> Result<HashMap<String, Range<usize>>, Stop> {
    let mut types = HashMap::new();
    let members = all_members(whole)?;
    let Some((_, list)) = members.iter().find(|(name, _)| name == "types") else { return Ok(types) };
    elements(list, |described| {
        let members = all_members(described)?;
        if let Some(name) = members.iter().find(|(name, _)| name == "name").and_then(|(_, name)| text(name)) {
            let begin = described.get().as_ptr() as usize - whole.get().as_ptr() as usize;
            types.insert(name.into_owned(), begin..begin + described.get().len());
        }
        Ok::<_, Stop>(())
    })?;
    Ok(types)
}
