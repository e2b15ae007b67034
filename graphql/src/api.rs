//! The entry point: a schema that executes operations.

use std::sync::Arc;

use async_graphql::{
    Variables,
    dynamic::Schema,
    parser::{
        parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
    },
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::{Map, Value as Json};
use transcode::{Limits, ParseOptions};

use crate::{
    analysis::{self, QueryLimits},
    budget::Budget,
    caller::Caller,
    calls::{Calls, Conversion},
    costs::Costs,
    layout::Layout,
    loader::Batch,
    nesting,
    reply::Reply,
    schema::{self, Built},
    session::Session,
    source::Source,
};

/// The options of an [`Api`].
///
/// Without an option: the fields of one response refer to at most 10,000 objects, which at most four calls of each batch
/// method load at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The limits of an operation.
    pub limits: QueryLimits,
    /// Whether clients may read the schema.
    pub introspection: bool,
    /// The maximum size of a response in memory, in bytes, and of the calls that it is made of.
    pub response_bytes: usize,
    /// How arguments become messages.
    pub parse: ParseOptions,
    /// The limits of one message.
    pub conversion: Limits,
}

/// A schema, which executes operations.
pub struct Api {
    schema: Schema,
    costs: Costs,
    batches: Vec<Arc<Batch>>,
    options: Options,
}

/// An operation as its client sends it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The document.
    pub query: String,
    /// The name of the operation; `None`: the document has one.
    pub operation_name: Option<String>,
    /// The variables.
    pub variables: Map<String, Json>,
}

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It has no side effects.
    Query,
    /// It may have side effects.
    Mutation,
    /// It has several responses.
    Subscription,
}

/// An operation that is within the limits.
pub struct Prepared {
    request: async_graphql::Request,
    operation: Operation,
    layout: Layout,
}

impl Prepared {
    /// The kind of the operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }
}

impl Api {
    /// Builds the schema of the sources.
    ///
    /// # Errors
    ///
    /// Fails if two types or fields have one name.
    pub fn new(sources: &[Source<'_>], options: Options) -> Result<Self, String> {
        let Built { schema, costs, batches } = schema::build(sources)?;
        Ok(Self { schema, costs, batches: batches.all, options })
    }

    /// The schema in the schema definition language.
    #[must_use]
    pub fn sdl(&self) -> String {
        self.schema.sdl()
    }

    /// Parses an operation and checks it against the limits.
    ///
    /// # Errors
    ///
    /// Returns the response that refuses the operation.
    pub fn prepare(&self, request: Request) -> Result<Prepared, Reply> {
        if nesting::is_too_deep(&request.query) {
            let message = format!("the document is nested in more than {} levels", nesting::MOST);
            return Err(Reply::refused("GRAPHQL_PARSE_FAILED", &message));
        }
        let document = parse_query(&request.query);
        let mut document = document.map_err(|error| Reply::refused("GRAPHQL_PARSE_FAILED", &error.to_string()))?;
        let Options { limits, introspection, .. } = &self.options;
        analysis::check(&document, &self.costs, limits, *introspection)?;
        let selected = selected(&document, request.operation_name.as_deref())?;
        let operation = kind(selected.ty);
        let mut layout = Layout::of(&document, &selected.selection_set.node);
        layout.fill(&mut document);
        let mut prepared = async_graphql::Request::new(request.query);
        prepared.operation_name = request.operation_name;
        prepared.variables = Variables::from_json(request.variables.into());
        prepared.set_parsed_query(document);
        Ok(Prepared { request: prepared, operation, layout })
    }

    /// Executes a query or a mutation.
    pub async fn execute(&self, prepared: Prepared, caller: Arc<dyn Caller>) -> Reply {
        let session = self.session(caller);
        let response = self.schema.execute(prepared.request.data(Arc::clone(&session))).await;
        Reply::of(response, session.take_errors(), &prepared.layout, session.budget())
    }

    /// Executes a subscription, or another operation as a stream of one response. A response beyond the limit is the last
    /// one: the executor keeps the errors of its fields until the stream ends.
    pub fn stream(&self, prepared: Prepared, caller: Arc<dyn Caller>) -> BoxStream<'static, Reply> {
        let (session, layout) = (self.session(caller), prepared.layout);
        let responses = self.schema.execute_stream(prepared.request.data(Arc::clone(&session)));
        let replies = responses.map(move |response| {
            let reply = Reply::of(response, session.take_errors(), &layout, session.budget());
            (reply, session.budget().is_exceeded())
        });
        let next = |replies: Option<_>| async move {
            let mut replies: BoxStream<'static, (Reply, bool)> = replies?;
            let (reply, is_last) = replies.next().await?;
            Some((reply, (!is_last).then_some(replies)))
        };
        stream::unfold(Some(replies.boxed()), next).boxed()
    }

    fn session(&self, caller: Arc<dyn Caller>) -> Arc<Session> {
        let Options { parse, conversion: limits, response_bytes, .. } = self.options;
        let conversion = Conversion { parse, limits };
        Arc::new(Session::new(Calls { caller, budget: Budget::new(response_bytes), conversion }, &self.batches))
    }
}

/// The operation that a request selects.
fn selected<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<&'a OperationDefinition, Reply> {
    let found = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name),
        (DocumentOperations::Multiple(all), None) => all.values().next().filter(|_| all.len() == 1),
    };
    let message = || match name {
        Some(name) => format!("the document has no operation {name:?}"),
        None => "the document has several operations; select one by operationName".to_owned(),
    };
    found.map(|operation| &operation.node).ok_or_else(|| Reply::refused("OPERATION_RESOLUTION_FAILURE", &message()))
}

fn kind(operation: OperationType) -> Operation {
    match operation {
        OperationType::Query => Operation::Query,
        OperationType::Mutation => Operation::Mutation,
        OperationType::Subscription => Operation::Subscription,
    }
}
