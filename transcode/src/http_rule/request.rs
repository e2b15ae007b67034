//! Makes the protobuf request of an HTTP request.
//!
//! The parts are written one after another: body, query, path. Decoders merge the fields of a message and let the last
//! value of a field win, so the path decides when the body has another value of the same field.

use std::borrow::Cow;

use super::{
    binding::{Binding, PathVariable},
    percent::{self, Mode},
    query::{self, QueryError, QueryOptions},
    router::Match,
};
use crate::{Limits, ParseOptions, TranscodeError};

/// The binding of a request.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    /// The binding.
    pub binding: &'a Binding,
    /// The position of the binding in the table.
    pub index: usize,
    path: &'a str,
    matched: Match,
}

/// A [`Found`] without its borrows: a caller that checks access first keeps it, and reads the request afterwards.
#[derive(Debug, Clone)]
pub struct Detached {
    pub(super) index: usize,
    pub(super) matched: Match,
}

/// How requests are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOptions {
    /// For the query string.
    pub query: QueryOptions,
    /// For the body.
    pub body: ParseOptions,
    /// For the body.
    pub limits: Limits,
}

/// Why an HTTP request has no protobuf form. All are INVALID_ARGUMENT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A variable of the path.
    #[error("the path variable `{field}`: {problem}")]
    Path {
        /// The dotted name of the field.
        field: String,
        /// The fault.
        problem: String,
    },
    /// The query string.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The body is not the JSON form of the message.
    #[error("the body: {0}")]
    Body(TranscodeError),
    /// The method takes no body.
    #[error("this request takes no body: send the fields as query parameters, and no body")]
    MissingBody,
}

impl RequestError {
    /// The field or query parameter at fault, for a `google.rpc.BadRequest`.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Path { field, .. } => Some(field),
            Self::Query(error) => error.parameter(),
            Self::Body(error) => {
                Some(error.path.strip_prefix("$.").unwrap_or_default()).filter(|path| !path.is_empty())
            }
            Self::MissingBody => None,
        }
    }
}

impl<'a> Found<'a> {
    pub(super) fn new(index: usize, binding: &'a Binding, path: &'a str, matched: Match) -> Self {
        Self { binding, index, path, matched }
    }

    /// Releases the borrows. [`RouteTable::attach`](super::RouteTable::attach) restores them.
    #[must_use]
    pub fn detach(self) -> Detached {
        Detached { index: self.index, matched: self.matched }
    }

    /// The variables of the path: the dotted name of the field, and the decoded value.
    pub fn variables(&self) -> impl Iterator<Item = Result<(&'a str, Cow<'a, str>), RequestError>> {
        self.binding.variables.iter().map(|variable| Ok((&*variable.variable.field, self.value(variable)?)))
    }

    fn value(&self, variable: &PathVariable) -> Result<Cow<'a, str>, RequestError> {
        // Empty only for another path than that of the match.
        let raw = self.path.get(self.matched.captured(&variable.variable)).unwrap_or_default();
        let mode = if variable.variable.is_multiple() { Mode::Segments } else { Mode::Segment };
        percent::decode(raw, mode).map_err(|malformed| fault(variable, malformed.to_string()))
    }

    /// Appends the encoded request. `query` is the part of the target after `?`.
    ///
    /// The body must be empty if it is a `google.api.HttpBody` ([`Binding::request_http_body`]): the caller appends its
    /// fields.
    ///
    /// # Errors
    ///
    /// Fails if a part of the request does not fit the binding. The output then is as before.
    pub fn append_request(
        &self,
        query: Option<&str>,
        body: &[u8],
        options: &RequestOptions,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let start = out.len();
        let appended = self.append_parts(query.unwrap_or_default(), body, options, out);
        appended.inspect_err(|_| out.truncate(start))
    }

    fn append_parts(
        &self,
        query: &str,
        body: &[u8],
        options: &RequestOptions,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        self.binding.append_body(body, options, out)?;
        query::append(self.binding, query, &options.query, out)?;
        for variable in &self.binding.variables {
            let value = self.value(variable)?;
            variable.field.append_text(&value, out).map_err(|e| fault(variable, e.message))?;
        }
        Ok(())
    }
}

fn fault(variable: &PathVariable, problem: String) -> RequestError {
    RequestError::Path { field: variable.variable.field.clone(), problem }
}
