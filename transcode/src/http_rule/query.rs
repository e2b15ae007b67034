//! Query parameters as fields of a request.
//!
//! A name is the JSON name or the proto name of a field, with dots for a field of a field. A parameter of a repeated
//! field may occur several times. Parts are separated by `&` only, and empty parts are skipped.

mod seen;

use seen::Seen;

use super::{
    binding::{Binding, Body, MAX_DEPTH},
    percent::{self, Mode},
};
use crate::{FieldPath, error::shorten};

/// How query strings are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryOptions {
    /// Ignore parameters that name no field, instead of refusing them.
    pub ignore_unknown: bool,
    /// The maximum number of parameters. Default: 1024.
    pub parameters: usize,
    /// The maximum number of bytes of the query string. Default: 64 KiB.
    pub bytes: usize,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { ignore_unknown: false, parameters: 1024, bytes: 64 << 10 }
    }
}

/// A fault in a query string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A parameter.
    #[error("the query parameter `{name}`: {problem}")]
    Parameter {
        /// The name, shortened.
        name: String,
        /// The fault and its fix.
        problem: String,
    },
    /// The query string exceeds a limit.
    #[error("the query string has more than {limit} {unit}: send fewer parameters")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What the limit counts.
        unit: &'static str,
    },
}

impl QueryError {
    /// The name of the parameter at fault.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Parameter { name, .. } => Some(name),
            Self::TooLarge { .. } => None,
        }
    }
}

/// Appends the fields of a query string.
pub(super) fn append(
    binding: &Binding,
    query: &str,
    options: &QueryOptions,
    out: &mut Vec<u8>,
) -> Result<(), QueryError> {
    if query.len() > options.bytes {
        return Err(QueryError::TooLarge { limit: options.bytes, unit: "bytes" });
    }
    let mut seen = Seen::default();
    let parts = query.split('&').filter(|part| !part.is_empty());
    for (at, part) in parts.enumerate() {
        if at == options.parameters {
            return Err(QueryError::TooLarge { limit: options.parameters, unit: "parameters" });
        }
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        parameter(binding, name, value, options, &mut seen, out)
            .map_err(|problem| QueryError::Parameter { name: shown(name), problem })?;
    }
    Ok(())
}

fn parameter(
    binding: &Binding,
    name: &str,
    value: &str,
    options: &QueryOptions,
    seen: &mut Seen,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let name = percent::decode(name, Mode::Query).map_err(|e| format!("in its name, {e}"))?;
    let Some(field) = field(binding, &name)? else {
        let message = binding.input.full_name();
        return if options.ignore_unknown {
            Ok(())
        } else {
            Err(format!("{message} has no such field: check the name"))
        };
    };
    unbound(binding, &field)?;
    has_text(&field, &name)?;
    seen.insert(&field)?;
    let value = percent::decode(value, Mode::Query).map_err(|e| e.to_string())?;
    field.append_text(&value, out).map_err(|e| e.message)
}

/// The field that a parameter names.
fn field(binding: &Binding, name: &str) -> Result<Option<FieldPath>, String> {
    if name.split('.').count() > MAX_DEPTH {
        return Err(format!("it has more than {MAX_DEPTH} names"));
    }
    match binding.input.field_path(name) {
        Ok(field) => Ok(Some(field)),
        Err(crate::FieldPathError::UnknownField { .. }) => Ok(None),
        Err(error @ crate::FieldPathError::NotAMessage { .. }) => Err(error.to_string()),
    }
}

/// Refuses a field that the path or the body holds.
fn unbound(binding: &Binding, field: &FieldPath) -> Result<(), String> {
    if binding.variables.iter().any(|variable| variable.field.names().eq(field.names())) {
        return Err("it is a part of the path: remove it from the query".into());
    }
    let is_in_body = match &binding.body {
        Body::Absent => false,
        Body::Whole => true,
        Body::Field(body) => field.names().take(1).eq(body.names()),
    };
    if is_in_body { Err("it is a part of the body: send it there".into()) } else { Ok(()) }
}

fn has_text(field: &FieldPath, name: &str) -> Result<(), String> {
    if field.accepts_text() {
        return Ok(());
    }
    Err(if field.is_singular_message() {
        format!("it is a message: name a field of it, such as `{name}.field`")
    } else {
        "it is a map or a list of messages, which a query cannot hold: call the method with POST and a JSON body".into()
    })
}

/// The name in an error: decoded if possible, and shortened.
fn shown(name: &str) -> String {
    shorten(&percent::decode(name, Mode::Query).unwrap_or(name.into()))
}
