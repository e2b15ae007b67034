//! The persisted GraphQL operations: documents that the operator's own clients send by their ids.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::Arc,
};

use serde_json::Value;

use crate::config::Graphql;

/// The documents of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PersistedQueries {
    by_id: HashMap<String, Arc<str>>,
    all: HashSet<Arc<str>>,
}

impl PersistedQueries {
    /// Reads the file that the configuration names; `None`: it names none. Errors name the key.
    pub(super) fn read(config: &Graphql) -> Result<Option<Self>, String> {
        let path = &config.persisted;
        if path.is_empty() {
            return match config.only_persisted {
                true => Err("gateway.graphql.only_persisted: needs `persisted`".to_owned()),
                false => Ok(None),
            };
        }
        let text = fs::read(path).map_err(|error| error.to_string());
        let read = text.and_then(|text| Self::parse(&text));
        read.map(Some).map_err(|why| format!("gateway.graphql.persisted: {path}: {why}"))
    }

    /// Reads an object with the ids as names, or Apollo's manifest.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let json: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let Value::Object(members) = json else { return Err("is no JSON object".to_owned()) };
        let operation = |of: &Value| Some((of["id"].as_str()?.to_owned(), of["body"].as_str()?.into()));
        let documents: Option<HashMap<_, _>> = match members.get("operations") {
            Some(Value::Array(operations)) => operations.iter().map(operation).collect(),
            _ => members.into_iter().map(|(id, document)| Some((id, document.as_str()?.into()))).collect(),
        };
        documents.map(Self::new).ok_or("holds a document that is no string".to_owned())
    }

    fn new(by_id: HashMap<String, Arc<str>>) -> Self {
        let all = by_id.values().map(Arc::clone).collect();
        Self { by_id, all }
    }

    #[cfg(test)]
    pub(crate) fn of<const N: usize>(documents: [(&str, &str); N]) -> Self {
        Self::new(documents.map(|(id, document)| (id.to_owned(), document.into())).into())
    }

    /// The document with an id.
    pub(crate) fn get(&self, id: &str) -> Option<&str> {
        self.by_id.get(id).map(Arc::as_ref)
    }

    /// Whether a document is one of them.
    pub(crate) fn contains(&self, document: &str) -> bool {
        self.all.contains(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_two_forms_are_read() {
        let plain = br#"{"a1": "{ a }", "b2": "{ b }"}"#;
        let apollo = br#"{"format": "apollo-persisted-query-manifest", "version": 1,
            "operations": [{"id": "a1", "body": "{ a }"}, {"id": "b2", "body": "{ b }"}]}"#;
        for text in [plain.as_slice(), apollo] {
            let read = PersistedQueries::parse(text).unwrap();
            assert_eq!((read.get("b2"), read.get("c3")), (Some("{ b }"), None));
            assert!(read.contains("{ a }") && !read.contains("{ c }"));
        }
        for text in ["", "[]", "{\"a\": 1}", "{\"operations\": [{\"id\": \"a\"}]}"] {
            assert!(PersistedQueries::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_persisted_needs_a_file() {
        let config = Graphql { only_persisted: true, ..Graphql::default() };
        assert!(PersistedQueries::read(&config).unwrap_err().contains("only_persisted"));
        assert_eq!(PersistedQueries::read(&Graphql::default()), Ok(None));
        let missing = Graphql { persisted: "/nonexistent".to_owned(), ..Graphql::default() };
        assert!(PersistedQueries::read(&missing).unwrap_err().starts_with("gateway.graphql.persisted: /nonexistent: "));
    }
}
