//! The path templates of `google.api.http`:
//!
//! ```text
//! Template  = "/" [ Segments ] [ Verb ]
//! Segments  = Segment { "/" Segment }
//! Segment   = "*" | "**" | LITERAL | Variable
//! Variable  = "{" FieldPath [ "=" Segments ] "}"
//! FieldPath = IDENT { "." IDENT }
//! Verb      = ":" LITERAL
//! ```

mod parse;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

/// The maximum number of segments of a path and of a template.
pub const MAX_SEGMENTS: usize = 64;

/// A parsed path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// Without the variables: `{name=books/*}` is two segments.
    pub(crate) segments: Vec<Segment>,
    pub(crate) variables: Vec<Variable>,
    pub(super) verb: Option<String>,
}

/// A segment of a template. The order is that of precedence: a literal is more specific than `*`, and `*` than `**`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    /// Percent-decoded.
    Literal(String),
    /// `*`: one segment.
    Any,
    /// `**`: the rest of the path, which may be empty.
    Rest,
}

/// A variable of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The name of a field of the request, with dots for a field of a field.
    pub(crate) field: String,
    /// The segments that it captures.
    pub(crate) segments: Range<usize>,
    /// Whether it ends with `**`, and so captures the rest of the path.
    pub(super) takes_rest: bool,
}

impl Variable {
    /// Whether `/` separates parts of its value. The value then keeps `%2F`.
    pub(super) fn is_multiple(&self) -> bool {
        self.takes_rest || self.segments.len() != 1
    }
}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::template(text)
    }

    /// The dotted names of the fields that the path has.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.field.as_str())
    }

    /// The number of segments that are not literals.
    pub(super) fn wildcards(&self) -> usize {
        self.segments.iter().filter(|segment| !matches!(segment, Segment::Literal(_))).count()
    }

    /// Whether some path matches both templates.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.verb, &other.verb) {
            (Some(mine), Some(others)) => mine == others && overlap(&self.segments, &other.segments),
            _ => overlap(&self.with_verb(), &other.with_verb()),
        }
    }

    /// Whether every path that matches `other` also matches this template.
    pub fn covers(&self, other: &Self) -> bool {
        match (&self.verb, &other.verb) {
            (None, _) => cover(&self.segments, &other.with_verb()),
            (mine, others) => mine == others && cover(&self.segments, &other.segments),
        }
    }

    /// The segments, with the verb as a part of the last one, as a template without a verb matches them.
    fn with_verb(&self) -> Vec<Segment> {
        let mut segments = self.segments.clone();
        if let (Some(last), Some(verb)) = (segments.last_mut(), &self.verb) {
            match last {
                Segment::Literal(text) => *text = format!("{text}:{verb}"),
                // Only wildcards match it.
                Segment::Any => *last = Segment::Literal(format!(":{verb}")),
                Segment::Rest => {}
            }
        }
        segments
    }

    /// The verb after the last `:`.
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }
}

/// Whether some segments match both lists. `**` is always the last one.
fn overlap(one: &[Segment], other: &[Segment]) -> bool {
    match (one, other) {
        ([Segment::Rest, ..], _) | (_, [Segment::Rest, ..]) | ([], []) => true,
        ([first, one @ ..], [second, other @ ..]) => {
            (first == second || *first == Segment::Any || *second == Segment::Any) && overlap(one, other)
        }
        _ => false,
    }
}

/// Whether all segments that match `narrow` match `wide`.
fn cover(wide: &[Segment], narrow: &[Segment]) -> bool {
    match (wide, narrow) {
        ([Segment::Rest, ..], _) | ([], []) => true,
        (_, [Segment::Rest, ..]) => false,
        ([first, wide @ ..], [second, narrow @ ..]) => {
            (first == second || *first == Segment::Any) && cover(wide, narrow)
        }
        _ => false,
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The fault and its fix.
    message: String,
    /// The position in bytes.
    at: usize,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at byte {}", self.message, self.at)
    }
}

impl std::error::Error for TemplateError {}
