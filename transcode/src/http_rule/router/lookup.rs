//! Looks a request up.

use std::{fmt, ops::Range};

use super::{
    ANY_METHOD, End, Router, State,
    segments::{Segments, Unmatchable, is_dot},
};
use crate::http_rule::{
    percent::{self, Mode},
    template::Variable,
};

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup<M> {
    /// A route matches.
    Found(M),
    /// Routes match the path, but none serves the HTTP method: status 405 with `Allow`.
    MethodNotAllowed(Allow),
    /// The request asks with `OPTIONS` for the methods of a path.
    Options(Allow),
    /// No route matches the path: status 404.
    NotFound,
    /// The path is longer than any path that is matched: status 414.
    TooLong,
}

impl<M> Lookup<M> {
    /// Converts the match.
    pub(in crate::http_rule) fn map<N>(self, convert: impl FnOnce(M) -> N) -> Lookup<N> {
        match self {
            Self::Found(found) => Lookup::Found(convert(found)),
            Self::MethodNotAllowed(allow) => Lookup::MethodNotAllowed(allow),
            Self::Options(allow) => Lookup::Options(allow),
            Self::NotFound => Lookup::NotFound,
            Self::TooLong => Lookup::TooLong,
        }
    }
}

/// The HTTP methods that a path serves, sorted. `Display` is the value of the `Allow` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow(Vec<Box<str>>);

impl Allow {
    /// The methods.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|method| &**method)
    }

    /// Adds `OPTIONS`, and `HEAD` if there is `GET`.
    fn of<'a>(methods: impl Iterator<Item = &'a str>) -> Self {
        let mut all: Vec<Box<str>> = methods.filter(|method| *method != ANY_METHOD).map(Box::from).collect();
        if all.iter().any(|method| **method == *"GET") {
            all.push("HEAD".into());
        }
        all.push("OPTIONS".into());
        all.sort();
        all.dedup();
        Self(all)
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// A route that matches a request.
#[derive(Clone, Debug)]
pub(in crate::http_rule) struct Match {
    /// The position of the route.
    pub(in crate::http_rule) route: usize,
    segments: Segments,
}

impl Match {
    /// The part of the path that a variable of the route's template captures.
    pub(in crate::http_rule) fn captured(&self, variable: &Variable) -> Range<usize> {
        let end = if variable.takes_rest { self.segments.count() } else { variable.segments.end };
        self.segments.range(variable.segments.start..end)
    }
}

/// A state in which a path may end, with the verb that it has there.
struct Ending<'a> {
    state: &'a State,
    verb: Option<u16>,
    /// The length of the verb in the path, with its `:`.
    verb_bytes: usize,
}

impl Ending<'_> {
    fn ends(&self) -> impl Iterator<Item = &End> {
        self.state.ends.iter().filter(|end| end.verb == self.verb)
    }
}

impl Router {
    /// Finds the route of a request. `path` is the path as the client sent it, without the query.
    pub(in crate::http_rule) fn find(&self, method: &str, path: &str) -> Lookup<Match> {
        let segments = match Segments::of(path) {
            Ok(segments) => segments,
            Err(Unmatchable::TooLong) => return Lookup::TooLong,
            Err(Unmatchable::Malformed) => return Lookup::NotFound,
        };
        let endings = self.endings(path, &segments);
        let serving = |method: &str| {
            let of = |ending: &Ending<'_>| {
                let end = ending.ends().find(|end| end.serves(method))?;
                Some(Match { route: end.route as usize, segments: segments.shortened(ending.verb_bytes) })
            };
            endings.iter().flatten().find_map(of)
        };
        let found = serving(method).or_else(|| if method == "HEAD" { serving("GET") } else { None });
        if let Some(found) = found {
            return Lookup::Found(found);
        }
        let mut ends = endings.iter().flatten().flat_map(Ending::ends).peekable();
        if ends.peek().is_none() {
            return Lookup::NotFound;
        }
        let allow = Allow::of(ends.map(|end| &*end.method));
        if method == "OPTIONS" { Lookup::Options(allow) } else { Lookup::MethodNotAllowed(allow) }
    }

    /// The states in which the path ends: with its verb, and with the verb as a part of the last segment.
    fn endings<'a>(&'a self, path: &str, segments: &Segments) -> [Option<Ending<'a>>; 2] {
        let whole = |state: &'a State| Ending { state, verb: None, verb_bytes: 0 };
        let Some(last) = segments.count().checked_sub(1) else { return [None, self.states.first().map(whole)] };
        let mut state = self.states.first();
        for at in 0..last {
            state = state.and_then(|state| self.step(state, &path[segments.range(at..at + 1)]));
        }
        let Some(state) = state else { return [None, None] };
        let text = &path[segments.range(last..last + 1)];
        let with_verb = text.rsplit_once(':').and_then(|(before, verb)| {
            let id = self.verb(verb)?;
            if before.is_empty() || is_dot(before) {
                return None;
            }
            Some(Ending { state: self.step(state, before)?, verb: Some(id), verb_bytes: verb.len() + 1 })
        });
        [with_verb, self.step(state, text).map(whole)]
    }

    /// The state after a segment.
    fn step(&self, state: &State, segment: &str) -> Option<&State> {
        let literal = percent::decode(segment, Mode::Segment).ok().and_then(|text| {
            let at = state.literals.binary_search_by(|(literal, _)| (**literal).cmp(&*text)).ok()?;
            Some(state.literals[at].1)
        });
        self.states.get(literal.or(state.other)? as usize)
    }

    fn verb(&self, text: &str) -> Option<u16> {
        let text = percent::decode(text, Mode::Segment).ok()?;
        let at = self.verbs.binary_search_by(|verb| (**verb).cmp(&*text)).ok()?;
        u16::try_from(at).ok()
    }
}
