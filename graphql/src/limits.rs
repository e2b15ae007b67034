//! The limits of an operation.

/// The limits of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// The maximum number of nested fields.
    pub depth: usize,
    /// The maximum sum of the costs of all fields, which are merged before.
    pub complexity: usize,
    /// The maximum number of root fields: each is a call.
    pub root_fields: usize,
    /// The maximum number of aliases.
    pub aliases: usize,
    /// The maximum number of directives.
    pub directives: usize,
    /// The maximum size of the variables, and of all arguments with the values of their variables, in bytes.
    pub argument_bytes: usize,
}
