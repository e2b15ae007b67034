//! The names of types and fields.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, MessageDescriptor, MethodDescriptor};

use crate::scalars;

/// Names of types that no message or enum may take.
const RESERVED: [&str; 10] =
    ["Query", "Mutation", "Subscription", "PageInfo", "Int", "Float", "String", "Boolean", "ID", "Upload"];

/// Whether GraphQL allows the name of a field or type.
pub(crate) fn is_valid(name: &str) -> bool {
    let is_start = |c: char| c == '_' || c.is_ascii_alphabetic();
    name.starts_with(is_start) && !name.starts_with("__") && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}

/// The name of a field: its name in JSON, or that of the contract if GraphQL does not allow the former.
pub(crate) fn field(field: &FieldDescriptor) -> String {
    if is_valid(field.json_name()) {
        return field.json_name().to_owned();
    }
    match field.name() {
        name if is_valid(name) => name.to_owned(),
        name => format!("x{name}"),
    }
}

/// `snake_case` and dots as `lowerCamelCase`.
pub(crate) fn camel(text: &str) -> String {
    let mut name = pascal(text);
    let head: String = name.chars().take(1).map(|c| c.to_ascii_lowercase()).collect();
    name.replace_range(..head.len(), &head);
    name
}

/// `snake_case` and dots as `UpperCamelCase`.
pub(crate) fn pascal(text: &str) -> String {
    let mut name = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let (head, rest) = word.split_at(word.len().min(1));
        name.push_str(&head.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}

/// `UpperCamelCase` as `snake_case`.
pub(crate) fn snake(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The possible names of the root field of a method, the shortest first.
pub(crate) fn root_fields(prefix: Option<&str>, method: &MethodDescriptor) -> [String; 3] {
    let service = method.parent_service();
    let (service_name, package) = (service.name(), service.package_name().to_owned());
    let short = service_name.strip_suffix("Service").filter(|short| !short.is_empty()).unwrap_or(service_name);
    let begin = prefix.unwrap_or_default();
    [
        camel(&format!("{begin}.{}", method.name())),
        camel(&format!("{begin}.{short}.{}", method.name())),
        camel(&format!("{package}.{service_name}.{}", method.name())),
    ]
}

/// How a type is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Use {
    Output,
    /// The response of a method that pages.
    Connection,
    Input,
    Enum,
}

/// The names of the types of all sources.
#[derive(Debug, Default)]
pub(crate) struct TypeNames(BTreeMap<TypeKey, String>);

/// The position of the source, the full name, and the use.
pub(crate) type TypeKey = (usize, String, Use);

impl TypeNames {
    /// Names the types: by the message's own name, or with its package if several types have that name.
    pub(crate) fn assign(types: &BTreeMap<TypeKey, TypeOrigin>) -> Result<Self, String> {
        let mut claims: BTreeMap<String, usize> = BTreeMap::new();
        for (key, origin) in types {
            *claims.entry(origin.name(key.2, false)).or_default() += 1;
        }
        let (mut names, mut taken) = (BTreeMap::new(), BTreeSet::new());
        for (key, origin) in types {
            let short = origin.name(key.2, false);
            let is_free = claims[&short] == 1 && !RESERVED.contains(&short.as_str()) && !scalars::is_custom(&short);
            let name = if is_free { short } else { origin.name(key.2, true) };
            if !taken.insert(name.clone()) {
                return Err(format!("two types of the GraphQL schema have the name {name}: {}", key.1));
            }
            names.insert(key.clone(), name);
        }
        Ok(Self(names))
    }

    /// The name of a type.
    pub(crate) fn get(&self, source: usize, full_name: &str, of: Use) -> &str {
        self.0.get(&(source, full_name.to_owned(), of)).map_or("", String::as_str)
    }
}

/// What the name of a type is made of.
#[derive(Debug, Clone)]
pub(crate) struct TypeOrigin {
    /// The prefix of the source.
    prefix: String,
    package: String,
    /// The names of the messages around it, and its own.
    short: String,
}

impl TypeOrigin {
    pub(crate) fn message(prefix: Option<&str>, message: &MessageDescriptor) -> Self {
        Self::new(prefix, message.package_name(), message.full_name())
    }

    pub(crate) fn enumeration(prefix: Option<&str>, of: &EnumDescriptor) -> Self {
        Self::new(prefix, of.package_name(), of.full_name())
    }

    fn new(prefix: Option<&str>, package: &str, full_name: &str) -> Self {
        let short = full_name.strip_prefix(package).unwrap_or(full_name).trim_start_matches('.');
        Self { prefix: pascal(prefix.unwrap_or_default()), package: pascal(package), short: pascal(short) }
    }

    fn name(&self, of: Use, is_qualified: bool) -> String {
        let Self { prefix, package, short } = self;
        let short = match of {
            Use::Connection => format!("{}Connection", short.strip_suffix("Response").unwrap_or(short)),
            Use::Input => format!("{short}Input"),
            Use::Output | Use::Enum => short.clone(),
        };
        if is_qualified { format!("{package}{short}") } else { format!("{prefix}{short}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_case_of_graphql() {
        assert_eq!(camel("acme.shop.GetCart"), "acmeShopGetCart");
        assert_eq!(camel(".GetUser"), "getUser");
        assert_eq!(camel("added_by_user"), "addedByUser");
        assert_eq!(pascal("acme.shop_v1"), "AcmeShopV1");
        assert_eq!(snake("UserGroup"), "user_group");
    }

    #[test]
    fn names_with_other_characters_are_invalid() {
        assert!(["a", "_a", "aB1"].into_iter().all(is_valid));
        assert!(!["", "__a", "1a", "a-b", "@type", "ä"].into_iter().any(is_valid));
    }
}
