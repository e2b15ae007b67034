//! The entry point: a schema that executes operations.

use std::sync::{Arc, OnceLock};

use async_graphql::{
    dynamic::Schema,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::{Map, Value as Json};
use transcode::{Limits, ParseOptions, shorten};

use crate::{
    analysis,
    budget::Budget,
    caller::Caller,
    calls::{Calls, Conversion},
    collect::Collector,
    execution::Execution,
    fields::Fields,
    input,
    introspection::SchemaText,
    limits::QueryLimits,
    loader::Batch,
    panics::{self, OnPanic},
    parse,
    plan::Plan,
    reply::Reply,
    schema::{self, Built},
    source::Source,
    subscription, validation,
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
    /// The bytes that an operation may hold: of the responses of its calls and of its own response together. Each response
    /// of a subscription counts by itself.
    pub response_bytes: usize,
    /// How arguments become messages.
    pub parse: ParseOptions,
    /// The limits of one message.
    pub conversion: Limits,
    /// Receives the message of each panic. Its operation fails with `INTERNAL`.
    pub on_panic: OnPanic,
}

/// A schema, which executes operations.
pub struct Api {
    schema: Schema,
    fields: Fields,
    batches: Arc<[Arc<Batch>]>,
    /// The number of arguments of the field with the most.
    most_arguments: usize,
    options: Options,
    /// The description of the schema, once a client has asked for it.
    description: OnceLock<Option<Arc<SchemaText>>>,
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

/// An operation that is valid and within the limits.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    schema: Option<Arc<SchemaText>>,
}

impl Prepared {
    /// The kind of the operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self.plan.operation {
            OperationType::Query => Operation::Query,
            OperationType::Mutation => Operation::Mutation,
            OperationType::Subscription => Operation::Subscription,
        }
    }

    /// How many calls the operation makes, besides those of references. Each response of a subscription comes from the
    /// same call.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.plan.calls()
    }
}

impl Api {
    /// Builds the schema of the sources.
    ///
    /// # Errors
    ///
    /// Fails if two types or fields have one name.
    pub fn new(sources: &[Source<'_>], options: Options) -> Result<Self, String> {
        let Built { schema, fields, batches } = schema::build(sources)?;
        let (batches, most_arguments) = (batches.all.into(), analysis::most_arguments(schema.registry()));
        Ok(Self { schema, fields, batches, most_arguments, options, description: OnceLock::new() })
    }

    /// The schema in the schema definition language.
    #[must_use]
    pub fn sdl(&self) -> String {
        self.schema.sdl()
    }

    /// Parses an operation, validates it, merges its fields and checks them against the limits.
    ///
    /// # Errors
    ///
    /// Returns the response that refuses the operation.
    pub fn prepare(&self, request: Request) -> Result<Prepared, Reply> {
        panics::catch(self.options.on_panic, || self.check(&request))
    }

    fn check(&self, request: &Request) -> Result<Prepared, Reply> {
        let document = parse::document(&request.query)?;
        let (Options { limits, introspection, .. }, registry) = (&self.options, self.schema.registry());
        analysis::check(&document, &request.variables, limits, self.most_arguments, *introspection)?;
        for (_, operation) in document.operations.iter() {
            input::check_types(&operation.node, registry)?;
        }
        let name = request.operation_name.as_deref();
        let operation = selected(&document, name)?;
        let kind = operation.ty;
        let variables = input::variables(operation, &request.variables, registry)?;
        let plan = Collector {
            document: &document,
            fields: &self.fields,
            registry,
            variables: &variables,
            declared: &input::declared(operation),
            limits,
        }
        .plan(operation);
        // What validation finds describes an invalid document better.
        validation::check(&self.schema, document, (kind, name), variables)?;
        let plan = plan?;
        let schema = if plan.has_meta() { Some(self.description().ok_or_else(Reply::internal)?) } else { None };
        Ok(Prepared { plan, schema })
    }

    fn description(&self) -> Option<Arc<SchemaText>> {
        self.description.get_or_init(|| SchemaText::of(&self.schema).map(Arc::new)).clone()
    }

    /// Executes a query or a mutation.
    pub async fn execute(&self, prepared: Prepared, caller: Arc<dyn Caller>) -> Reply {
        let execution = self.execution(&prepared, caller);
        panics::catch_async(self.options.on_panic, execution.reply(&prepared.plan)).await
    }

    /// Executes a subscription, or another operation as a stream of one response. A response beyond the limit is the last
    /// one.
    pub fn stream(&self, prepared: Prepared, caller: Arc<dyn Caller>) -> BoxStream<'static, Reply> {
        let (execution, plan) = (self.execution(&prepared, caller), prepared.plan);
        let replies = match plan.operation {
            OperationType::Subscription => subscription::replies(execution, plan).boxed(),
            _ => stream::once(async move { execution.reply(&plan).await }).boxed(),
        };
        panics::catch_stream(self.options.on_panic, replies).boxed()
    }

    fn execution(&self, prepared: &Prepared, caller: Arc<dyn Caller>) -> Execution {
        let Options { parse, conversion: limits, response_bytes, .. } = self.options;
        let conversion = Conversion { parse, limits };
        let calls = Calls { caller, budget: Budget::new(response_bytes), conversion };
        Execution { calls, batches: Arc::clone(&self.batches), schema: prepared.schema.clone() }
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
        Some(name) => format!("the document has no operation `{}`", shorten(name)),
        None => "the document has several operations; select one by operationName".to_owned(),
    };
    found.map(|operation| &operation.node).ok_or_else(|| Reply::refused("OPERATION_RESOLUTION_FAILURE", &message()))
}
