//! Makes the automaton: a tree of the templates, then the states that sets of its nodes form.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{ANY_METHOD, End, Router, State};
use crate::http_rule::template::{Segment, Template};

/// Bounds on the automaton. Templates with many `*` before different literals could need exponentially many states.
const MAX_STATES: usize = 16_384;
/// The nodes that are visited to make all states.
const MAX_WORK: usize = 1 << 22;

/// Why routes form no router.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http_rule) enum Refused {
    /// Each pair of routes has the same segments, verb and HTTP method.
    Conflicts(Vec<Conflict>),
    /// The templates overlap in too many ways.
    TooComplex,
}

/// Two routes that match the same requests, by their positions.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http_rule) struct Conflict {
    pub(in crate::http_rule) first: usize,
    pub(in crate::http_rule) second: usize,
}

impl Router {
    /// Makes the router of `routes`: HTTP methods and templates. A lookup returns positions in this list.
    pub(in crate::http_rule) fn build(routes: &[(&str, &Template)]) -> Result<Self, Refused> {
        let conflicts = conflicts(routes);
        if !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
        let verbs: BTreeSet<_> = routes.iter().filter_map(|(_, template)| template.verb.clone()).collect();
        let verbs: Vec<_> = verbs.into_iter().collect();
        let states = Builder { routes, verbs: &verbs, tree: Tree::of(routes), ids: HashMap::new() }.states()?;
        Ok(Self { states, verbs })
    }
}

fn conflicts(routes: &[(&str, &Template)]) -> Vec<Conflict> {
    let mut seen = BTreeMap::new();
    let key =
        |(method, template): &(&str, &Template)| (method.to_string(), template.segments.clone(), template.verb.clone());
    let mut found = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        match seen.get(&key(route)) {
            Some(&first) => found.push(Conflict { first, second }),
            None => _ = seen.insert(key(route), second),
        }
    }
    found
}

/// The templates as a tree of segments.
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    literals: BTreeMap<String, usize>,
    any: Option<usize>,
    rest: Option<usize>,
    /// Whether the node is after `**`, which takes all segments that follow.
    is_rest: bool,
    /// The routes whose templates end here.
    routes: Vec<usize>,
}

impl Tree {
    fn of(routes: &[(&str, &Template)]) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for (route, (_, template)) in routes.iter().enumerate() {
            let end = template.segments.iter().fold(0, |node, segment| tree.child(node, segment));
            tree.nodes[end].routes.push(route);
        }
        tree
    }

    /// The node after `segment`, which is added if it is missing.
    fn child(&mut self, node: usize, segment: &Segment) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[node];
        let child = match segment {
            Segment::Literal(literal) => *node.literals.entry(literal.clone()).or_insert(new),
            Segment::Any => *node.any.get_or_insert(new),
            Segment::Rest => *node.rest.get_or_insert(new),
        };
        if child == new {
            self.nodes.push(Node { is_rest: *segment == Segment::Rest, ..Node::default() });
        }
        child
    }

    /// Adds the nodes that are reached without a segment: `**` may be empty.
    fn with_empty_rest(&self, nodes: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        nodes.flat_map(|node| [Some(node), self.nodes[node].rest]).flatten().collect()
    }

    /// The nodes after a segment: `literal`, or one that is no literal of these nodes.
    fn after(&self, nodes: &BTreeSet<usize>, literal: Option<&str>) -> BTreeSet<usize> {
        let next = nodes.iter().flat_map(|&at| {
            let node = &self.nodes[at];
            [literal.and_then(|text| node.literals.get(text).copied()), node.any, node.is_rest.then_some(at)]
        });
        self.with_empty_rest(next.flatten())
    }
}

struct Builder<'a> {
    routes: &'a [(&'a str, &'a Template)],
    verbs: &'a [String],
    tree: Tree,
    /// The ids of the states, by their nodes.
    ids: HashMap<BTreeSet<usize>, u32>,
}

impl Builder<'_> {
    fn states(mut self) -> Result<Vec<State>, Refused> {
        let mut open = vec![self.tree.with_empty_rest([0].into_iter())];
        self.ids.insert(open[0].clone(), 0);
        let mut states = Vec::new();
        let mut work = 0_usize;
        while let Some(nodes) = open.get(states.len()).cloned() {
            let texts: BTreeSet<_> = nodes.iter().flat_map(|&node| self.tree.nodes[node].literals.keys()).collect();
            work = work.saturating_add(nodes.len().saturating_mul(texts.len() + 1));
            if open.len() > MAX_STATES || work > MAX_WORK {
                return Err(Refused::TooComplex);
            }
            let after: Vec<_> =
                texts.into_iter().map(|text| (text.as_str().into(), self.tree.after(&nodes, Some(text)))).collect();
            let literals = after.into_iter().map(|(text, next)| (text, self.id(next, &mut open))).collect();
            let other = self.tree.after(&nodes, None);
            let other = (!other.is_empty()).then(|| self.id(other, &mut open));
            states.push(State { literals, other, ends: self.ends(&nodes) });
        }
        Ok(states)
    }

    /// The id of the state of `nodes`. A new state is added to `open`.
    fn id(&mut self, nodes: BTreeSet<usize>, open: &mut Vec<BTreeSet<usize>>) -> u32 {
        let new = u32::try_from(open.len()).unwrap_or(u32::MAX);
        *self.ids.entry(nodes).or_insert_with_key(|nodes| {
            open.push(nodes.clone());
            new
        })
    }

    fn ends(&self, nodes: &BTreeSet<usize>) -> Vec<End> {
        let mut routes: Vec<_> = nodes.iter().flat_map(|&node| &self.tree.nodes[node].routes).copied().collect();
        routes.sort_by_key(|&route| {
            let (method, template) = self.routes[route];
            (&template.segments, method == ANY_METHOD, route)
        });
        let end = |route: usize| {
            let (method, template) = self.routes[route];
            let verb = template.verb.as_ref().and_then(|verb| self.verbs.binary_search(verb).ok());
            End {
                verb: verb.and_then(|id| u16::try_from(id).ok()),
                method: method.into(),
                route: u32::try_from(route).unwrap_or(u32::MAX),
            }
        };
        routes.into_iter().map(end).collect()
    }
}
