//! Finds the route of a method and path, in time linear in the length of the path.
//!
//! Precedence, when several templates match a path:
//! 1. A template with a verb comes before one without: `/v1/{id}:cancel` before `/v1/{id}`.
//! 2. From left to right, a literal comes before `*`, and `*` before `**`. A shorter template comes before one that
//!    goes on with `**`.
//! 3. A route of the request's HTTP method comes before a route of any method.
//!
//! The most specific template that serves the HTTP method wins, so `DELETE /v1/users/me` does not hide
//! `GET /v1/users/{id}`. Two routes with the same segments, verb and HTTP method conflict.
//!
//! Paths are matched as clients send them: a literal also matches its percent-encoded form, `%2F` never separates
//! segments, and `%3A` never begins a verb. No route matches a path with an empty segment (so none with a trailing
//! slash) or with a dot segment.

mod build;
mod lookup;
mod segments;
#[cfg(test)]
mod tests;

#[cfg(test)]
use build::Conflict;
pub(super) use build::Refused;
pub(super) use lookup::Match;
pub use lookup::{Allow, Lookup};

/// An automaton over the segments of paths.
#[derive(Debug, Default)]
pub(super) struct Router {
    states: Vec<State>,
    /// The verbs of all templates, sorted. The position in this list is the verb's id.
    verbs: Vec<String>,
}

/// A position in all templates that match the segments so far.
#[derive(Debug, Default)]
struct State {
    /// The next state after a literal, sorted by the literal.
    literals: Vec<(Box<str>, u32)>,
    /// The next state after any other segment.
    other: Option<u32>,
    /// The routes whose templates end here, in order of precedence.
    ends: Vec<End>,
}

/// A route whose template ends in a state.
#[derive(Debug, Clone)]
struct End {
    verb: Option<u16>,
    method: Box<str>,
    route: u32,
}

/// The HTTP method of a route that serves all of them: the `kind` `*` of a custom pattern.
pub(super) const ANY_METHOD: &str = "*";

impl End {
    fn serves(&self, method: &str) -> bool {
        *self.method == *method || *self.method == *ANY_METHOD
    }
}
