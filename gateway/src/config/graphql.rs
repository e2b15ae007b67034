//! The section `[gateway.graphql]`.

use std::time::Duration;

use graphql::{OnPanic, Options, QueryLimits};
use kit::config::Span;
use serde::{Deserialize, Serialize};
use transcode::Limits;

use super::Json;

/// The section `[gateway.graphql]`: the GraphQL API at `/graphql`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Graphql {
    /// Serve GraphQL at `/graphql`.
    pub enabled: bool,
    /// Whether clients may read the schema. It holds what the OpenAPI documents hold.
    pub introspection: bool,
    /// Serve the explorer, a page at `/graphiql`.
    pub explorer: bool,
    /// The largest document, in bytes.
    pub query_bytes: usize,
    /// The maximum number of nested fields.
    pub depth: usize,
    /// The maximum sum of the costs of all fields of an operation, after those with the same name in the response are
    /// merged: 10 times the cost in the rate limits for a call, 10 for a reference, 1 for another field.
    pub complexity: usize,
    /// The maximum number of root fields, each of which is a call.
    pub root_fields: usize,
    /// The maximum number of aliases.
    pub aliases: usize,
    /// The maximum number of directives.
    pub directives: usize,
    /// The largest size of the variables of an operation, and of all its arguments with the values of their variables, in
    /// bytes: 32 for each value, besides its text.
    pub argument_bytes: usize,
    /// The bytes that an operation may hold: the responses of its calls and its own response together. Each response of a
    /// subscription counts by itself.
    pub response_bytes: usize,
    /// A JSON file with documents by their ids, which clients may send instead of documents: an object with the ids as
    /// names, or Apollo's manifest. Read again when it has changed. Empty: none.
    pub persisted: String,
    /// Whether only the documents of `persisted` are executed.
    pub only_persisted: bool,
    /// The bytes of the documents that the gateway remembers by their hash (automatic persisted queries). `0`: none.
    pub automatic_persisted_bytes: usize,
    /// How long a WebSocket may take until its `connection_init` has arrived.
    pub init_timeout: Span,
    /// The maximum number of operations that run at the same time over one WebSocket.
    pub operations_per_socket: usize,
}

impl Default for Graphql {
    fn default() -> Self {
        Self {
            enabled: true,
            introspection: true,
            explorer: true,
            query_bytes: 64 * 1024,
            depth: 15,
            complexity: 1_000,
            root_fields: 10,
            aliases: 30,
            directives: 30,
            argument_bytes: 1024 * 1024,
            response_bytes: 16 * 1024 * 1024,
            persisted: String::new(),
            only_persisted: false,
            automatic_persisted_bytes: 4 * 1024 * 1024,
            init_timeout: Span(Duration::from_secs(10)),
            operations_per_socket: 50,
        }
    }
}

impl Graphql {
    /// Whether the explorer is served.
    pub(crate) fn has_explorer(&self) -> bool {
        self.enabled && self.explorer
    }

    /// The largest message of a client over a WebSocket, in bytes: an operation, with its headers or what is around it.
    pub(crate) fn socket_message_bytes(&self, limits: &kit::limits::Limits) -> usize {
        let operation = self.query_bytes.saturating_add(self.argument_bytes).min(limits.message_bytes);
        operation.saturating_add(limits.header_bytes as usize)
    }

    /// The options of the schema. `message_bytes` is the size of the largest message of a request.
    pub(crate) fn options(&self, json: &Json, message_bytes: usize, on_panic: OnPanic) -> Options {
        let (parse, _, limits) = json.conversion();
        let Self { introspection, depth, complexity, root_fields, aliases, directives, argument_bytes, .. } = *self;
        Options {
            limits: QueryLimits { depth, complexity, root_fields, aliases, directives, argument_bytes },
            introspection,
            response_bytes: self.response_bytes,
            parse,
            // A request in JSON may be longer than its message: the body of the HTTP request is bounded.
            conversion: Limits { input: usize::MAX, output: limits.output.max(message_bytes), ..limits },
            on_panic,
        }
    }
}
