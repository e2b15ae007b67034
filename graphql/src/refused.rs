//! Why an operation is refused before it is executed.

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The document or its variables do not fit the schema.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("GRAPHQL_VALIDATION_FAILED", message)
    }

    /// The operation is beyond a limit of `gateway.graphql`.
    pub(crate) fn beyond(amount: &str, is: usize, most: usize, key: &str) -> Self {
        let message = format!("the operation has {amount} {is}; the limit is {most} (gateway.graphql.{key})");
        Self::new("QUERY_TOO_EXPENSIVE", message)
    }
}
