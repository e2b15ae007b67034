//! The names of types and fields.

use std::collections::BTreeMap;

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
    /// Names the types: by the message's own name, or with its package if several types of the source have that name. So
    /// no source changes the names of another one.
    pub(crate) fn assign(types: &BTreeMap<TypeKey, TypeOrigin>) -> Result<Self, String> {
        let mut claims: BTreeMap<(usize, String), usize> = BTreeMap::new();
        for (key, origin) in types {
            *claims.entry((key.0, origin.name(key.2, false))).or_default() += 1;
        }
        let (mut names, mut taken) = (BTreeMap::new(), BTreeMap::new());
        for (key, origin) in types {
            let short = origin.name(key.2, false);
            let is_reserved = RESERVED.contains(&short.as_str()) || scalars::is_custom(&short);
            let is_free = !is_reserved && claims[&(key.0, short.clone())] == 1;
            let name = if is_free { short } else { origin.name(key.2, true) };
            if let Some((other, of)) = taken.insert(name.clone(), (&key.1, origin)) {
                let (one, other) = (of.owner.describe(other), origin.owner.describe(&key.1));
                return Err(format!("two types have the name {name} in GraphQL: {one}, and {other}"));
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

/// The mesh, or the upstream with a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Owner(Option<String>);

impl Owner {
    pub(crate) fn of(prefix: Option<&str>) -> Self {
        Self(prefix.map(str::to_owned))
    }

    /// Names what the owner declares.
    pub(crate) fn describe(&self, full_name: &str) -> String {
        match &self.0 {
            Some(prefix) => format!("{full_name} of the upstream {prefix:?}"),
            None => format!("{full_name} of the mesh"),
        }
    }
}

/// What the name of a type is made of.
#[derive(Debug, Clone)]
pub(crate) struct TypeOrigin {
    owner: Owner,
    /// The prefix of the source.
    prefix: String,
    /// The package, after the prefix if it does not begin with it.
    qualifier: String,
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
        let owner = Owner::of(prefix);
        let (prefix, package) = (pascal(prefix.unwrap_or_default()), pascal(package));
        let qualifier = if package.starts_with(&prefix) { package } else { format!("{prefix}{package}") };
        Self { owner, prefix, qualifier, short: pascal(short) }
    }

    fn name(&self, of: Use, is_qualified: bool) -> String {
        let Self { prefix, qualifier, short, .. } = self;
        let short = match of {
            Use::Connection => format!("{}Connection", short.strip_suffix("Response").unwrap_or(short)),
            Use::Input => format!("{short}Input"),
            Use::Output | Use::Enum => short.clone(),
        };
        if is_qualified { format!("{qualifier}{short}") } else { format!("{prefix}{short}") }
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
