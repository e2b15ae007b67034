//! Documents that clients send by their ids: those of the operator's file, and automatic persisted queries
//! (<https://www.apollographql.com/docs/apollo-server/performance/apq>), which the gateway remembers by their hash.

use std::{fmt::Write as _, sync::Arc};

use ::graphql::{Reply, Request};
use quick_cache::{Weighter, sync::Cache};
use ring::digest::{SHA256, digest};

use super::operation::Sent;
use crate::state::PersistedQueries;

/// The documents that clients have sent together with their hash. Any client may use them: they hold no variables.
pub(crate) struct AutomaticQueries(Option<Cache<String, Arc<str>, DocumentWeighter>>);

/// Weighs a document by its bytes, with its hash and the cache's own.
#[derive(Clone)]
struct DocumentWeighter;

/// What an entry takes besides the document.
const ENTRY: u64 = 192;

impl Weighter<String, Arc<str>> for DocumentWeighter {
    fn weight(&self, _: &String, document: &Arc<str>) -> u64 {
        ENTRY + document.len() as u64
    }
}

impl AutomaticQueries {
    /// Remembers documents of at most `bytes` together; 0: none.
    pub(crate) fn new(bytes: usize) -> Self {
        let items = bytes / 1_024;
        Self((bytes > 0).then(|| Cache::with_weighter(items, bytes as u64, DocumentWeighter)))
    }

    fn get(&self, hash: &str) -> Option<Arc<str>> {
        self.0.as_ref()?.get(hash)
    }

    fn insert(&self, hash: String, document: &str) {
        if let Some(cache) = &self.0 {
            cache.insert(hash, document.into());
        }
    }
}

/// Which documents may be executed.
pub(super) struct Documents<'a> {
    pub(super) file: Option<&'a PersistedQueries>,
    /// Only those of the file.
    pub(super) only_file: bool,
    pub(super) automatic: &'a AutomaticQueries,
}

impl Documents<'_> {
    /// The operation with its document.
    pub(super) fn complete(&self, sent: Sent) -> Result<Request, Reply> {
        let Sent { query, id, operation_name, variables } = sent;
        let query = match (query, id) {
            (Some(query), None) => query,
            (Some(query), Some(hash)) => {
                if sha256(&query) != hash {
                    return Err(Reply::refused("BAD_REQUEST", "the sha256Hash is not that of the query"));
                }
                if !self.only_file {
                    self.automatic.insert(hash, &query);
                }
                query
            }
            (None, Some(id)) => self.find(&id)?,
            (None, None) => return Err(Reply::refused("BAD_REQUEST", "the request has no `query`")),
        };
        if self.only_file && !self.file.is_some_and(|file| file.contains(&query)) {
            let message = "the gateway executes only the documents of gateway.graphql.persisted";
            return Err(Reply::refused("PERSISTED_QUERY_REQUIRED", message));
        }
        Ok(Request { query, operation_name, variables })
    }

    fn find(&self, id: &str) -> Result<String, Reply> {
        if let Some(document) = self.file.and_then(|file| file.get(id)) {
            return Ok(document.to_owned());
        }
        if self.automatic.0.is_none() || self.only_file {
            return Err(Reply::refused("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported"));
        }
        // Clients know this text, and send the document.
        let document = self.automatic.get(id).map(|document| document.to_string());
        document.ok_or_else(|| Reply::refused("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound"))
    }
}

/// The hash in lower-case hexadecimal digits.
fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::with_capacity(64), |mut hash, byte| {
        // Writing to a string does not fail.
        write!(hash, "{byte:02x}").ok();
        hash
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "{ a }";

    fn sent(query: Option<&str>, id: Option<&str>) -> Sent {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Sent { query: text(query), id: text(id), operation_name: None, variables: serde_json::Map::new() }
    }

    fn code(documents: &Documents<'_>, query: Option<&str>, id: Option<&str>) -> String {
        match documents.complete(sent(query, id)) {
            Ok(request) => request.query,
            Err(reply) => {
                let json: serde_json::Value = serde_json::from_slice(&reply.json).unwrap();
                json["errors"][0]["extensions"]["code"].as_str().unwrap().to_owned()
            }
        }
    }

    #[test]
    fn documents_are_remembered_by_their_hash() {
        let automatic = AutomaticQueries::new(64 * 1024);
        let documents = Documents { file: None, only_file: false, automatic: &automatic };
        let hash = sha256(DOCUMENT);
        assert_eq!(code(&documents, None, Some(&hash)), "PERSISTED_QUERY_NOT_FOUND");
        assert_eq!(code(&documents, Some("{ b }"), Some(&hash)), "BAD_REQUEST");
        assert_eq!(code(&documents, None, Some(&hash)), "PERSISTED_QUERY_NOT_FOUND");
        assert_eq!(code(&documents, Some(DOCUMENT), Some(&hash)), DOCUMENT);
        assert_eq!(code(&documents, None, Some(&hash)), DOCUMENT);
        assert_eq!(code(&documents, None, None), "BAD_REQUEST");
        let off = AutomaticQueries::new(0);
        let documents = Documents { file: None, only_file: false, automatic: &off };
        assert_eq!(code(&documents, Some(DOCUMENT), Some(&hash)), DOCUMENT);
        assert_eq!(code(&documents, None, Some(&hash)), "PERSISTED_QUERY_NOT_SUPPORTED");
    }

    #[test]
    fn remembered_documents_are_bounded() {
        let automatic = AutomaticQueries::new(64 * 1024);
        for n in 0..1_000 {
            automatic.insert(n.to_string(), &"a".repeat(1_024));
        }
        let weight = automatic.0.as_ref().unwrap().weight();
        assert!((1..=64 * 1024).contains(&weight), "{weight}");
    }

    #[test]
    fn file_restricts_the_documents() {
        let automatic = AutomaticQueries::new(64 * 1024);
        let file = PersistedQueries::of([("a1", DOCUMENT)]);
        let documents = Documents { file: Some(&file), only_file: true, automatic: &automatic };
        assert_eq!(code(&documents, None, Some("a1")), DOCUMENT);
        assert_eq!(code(&documents, Some(DOCUMENT), None), DOCUMENT);
        assert_eq!(code(&documents, Some("{ b }"), None), "PERSISTED_QUERY_REQUIRED");
        assert_eq!(code(&documents, Some("{ b }"), Some(&sha256("{ b }"))), "PERSISTED_QUERY_REQUIRED");
        assert_eq!(code(&documents, None, Some(&sha256("{ b }"))), "PERSISTED_QUERY_NOT_SUPPORTED");
        let open = Documents { only_file: false, ..documents };
        assert_eq!(code(&open, Some("{ b }"), None), "{ b }");
    }
}
