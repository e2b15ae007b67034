//! Validates documents against the schema. The executor of async-graphql does so before it executes an operation; here its
//! root fields have no values, so that nothing else happens.

use async_graphql::{
    Request, Response, Variables,
    dynamic::Schema,
    parser::types::{ExecutableDocument, OperationType},
};
use futures_util::{FutureExt as _, StreamExt as _};

use crate::{reply::Reply, typename};

/// Refuses an invalid document. `variables` are those of the operation with the name.
pub(crate) fn check(
    schema: &Schema,
    mut document: ExecutableDocument,
    operation: (OperationType, Option<&str>),
    variables: Variables,
) -> Result<(), Reply> {
    typename::expose_directives(&mut document);
    let (ty, name) = operation;
    let mut request = Request::new("").variables(variables).disable_introspection();
    request.operation_name = name.map(str::to_owned);
    request.set_parsed_query(document);
    let response = match ty {
        OperationType::Query | OperationType::Mutation => schema.execute(request).now_or_never(),
        // A valid one has no responses.
        OperationType::Subscription => {
            let first = schema.execute_stream(request).into_future().now_or_never();
            first.map(|(response, _)| response.unwrap_or_else(|| Response::new(())))
        }
    };
    match response {
        Some(response) if response.errors.is_empty() => Ok(()),
        Some(response) => Err(Reply::invalid(response.errors)),
        None => Err(Reply::internal()),
    }
}
