//! The HTTP forms of the methods that clients may call: one table for the mesh, and one for each external upstream.
//!
//! A request goes to the first table that has its path, whatever its HTTP method: the mesh's, then those of the
//! upstreams, sorted by prefix. So no upstream can take a path of the mesh. None can take a path of the gateway itself.

use std::sync::Arc;

use prost_reflect::MethodDescriptor;
use transcode::{
    Registry,
    http_rule::{Binding, RouteTable, RuleError, RuleErrors, Template},
};

/// The paths that the gateway serves itself.
const OWN_PATHS: [&str; 15] = [
    "/",
    "/index.html",
    "/livez",
    "/readyz",
    "/metrics",
    "/docs",
    "/docs/*/**",
    "/openapi",
    "/openapi.json",
    "/openapi/*/**",
    "/graphql",
    "/graphiql",
    "/graphiql/*/**",
    "/assets/*/**",
    "/.well-known/*/**",
];

/// A path that the gateway serves itself, and the key of the configuration that names it, for messages.
pub(super) type OwnPath = (Template, &'static str);

/// The paths that the gateway serves itself, among them the path of forward authentication if it is not empty.
pub(super) fn own_paths(forward_auth: &str) -> Vec<OwnPath> {
    let fixed = OWN_PATHS.into_iter().map(|path| (path, ""));
    let configured = Some((forward_auth, " (gateway.forward_auth.path)")).filter(|(path, _)| !path.is_empty());
    fixed.chain(configured).filter_map(|(path, key)| Some((Template::parse(path).ok()?, key))).collect()
}

/// The name of the mesh in warnings.
const MESH: &str = "mesh";

/// A method that clients may call, with the messages of its descriptors.
pub(crate) type OpenMethod<'a> = (&'a Registry, MethodDescriptor);

/// A fault in the HTTP forms of a server, which the others do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormWarning {
    /// The prefix of the upstream, or `mesh`.
    pub(crate) upstream: Arc<str>,
    pub(crate) problem: String,
}

/// The HTTP forms of the mesh or of an external upstream.
#[derive(Debug)]
pub(crate) struct FormTable {
    /// The prefix of the upstream; `None`: the mesh.
    pub(crate) prefix: Option<Arc<str>>,
    pub(crate) table: Arc<RouteTable>,
    /// The positions of the bindings that an earlier table does not hide.
    pub(crate) routed: Vec<usize>,
}

impl FormTable {
    /// A table that is asked after those `before` it. Adds a warning for each form that they hide.
    fn new(prefix: Option<Arc<str>>, table: RouteTable, before: &[Self], warnings: &mut Vec<FormWarning>) -> Self {
        let upstream: Arc<str> = prefix.clone().unwrap_or_else(|| MESH.into());
        let hides = |binding: &Binding| before.iter().find_map(|earlier| Some((earlier, earlier.hides(binding)?)));
        let mut routed = Vec::new();
        for (position, binding) in table.bindings().iter().enumerate() {
            match hides(binding) {
                None => routed.push(position),
                Some((earlier, by)) => {
                    let (form, by, of) = (named(binding), named(by), earlier.prefix.as_deref().unwrap_or(MESH));
                    let problem = format!("{form} is unreachable: {by} ({of}) comes earlier and has all its paths");
                    warnings.push(FormWarning { upstream: Arc::clone(&upstream), problem });
                }
            }
        }
        Self { prefix, table: Arc::new(table), routed }
    }

    /// The binding that has all paths of `other`. The first table with a path decides, whatever the HTTP method.
    fn hides(&self, other: &Binding) -> Option<&Binding> {
        self.table.bindings().iter().find(|mine| mine.template().covers(other.template()))
    }
}

/// The tables in the order in which they are asked. An external upstream whose forms are invalid has none; its methods
/// keep the other protocols. Invalid forms of the mesh are an error. `forward_auth` is the path of forward authentication,
/// or empty.
pub(crate) fn tables(
    mesh: Vec<OpenMethod<'_>>,
    mut upstreams: Vec<(Arc<str>, Vec<OpenMethod<'_>>)>,
    forward_auth: &str,
) -> Result<(Vec<FormTable>, Vec<FormWarning>), String> {
    let own = own_paths(forward_auth);
    let mesh = build(mesh, &own).map_err(|errors| errors.to_string())?;
    let mut warnings = Vec::new();
    let mut tables = vec![FormTable::new(None, mesh, &[], &mut warnings)];
    upstreams.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (prefix, methods) in upstreams {
        match build(methods, &own) {
            Ok(table) => {
                let table = FormTable::new(Some(prefix), table, &tables, &mut warnings);
                tables.push(table);
            }
            Err(errors) => {
                let problem = format!("the upstream has no HTTP forms: {errors}");
                warnings.push(FormWarning { upstream: prefix, problem });
            }
        }
    }
    Ok((tables, warnings))
}

/// The table of `methods`, none of which has a path of the gateway itself.
fn build(methods: Vec<OpenMethod<'_>>, own: &[OwnPath]) -> Result<RouteTable, RuleErrors> {
    let table = RouteTable::build(methods)?;
    let taken: Vec<_> = table.bindings().iter().filter_map(|binding| taking(binding, own)).collect();
    if taken.is_empty() { Ok(table) } else { Err(RuleErrors(taken)) }
}

/// The error of a binding that has one of the gateway's `own` paths.
fn taking(binding: &Binding, own: &[OwnPath]) -> Option<RuleError> {
    let (taken, key) = own.iter().find(|(own, _)| own.overlaps(binding.template()))?;
    let (http_method, template) = (binding.http_method(), binding.template());
    Some(RuleError {
        method: binding.method().full_name().to_owned(),
        problem: format!(
            "{http_method} {template} matches {taken}, which the gateway serves itself{key}: change the path"
        ),
    })
}

fn named(binding: &Binding) -> String {
    format!("{} {} of {}", binding.http_method(), binding.template(), binding.method().full_name())
}

#[cfg(test)]
mod tests;
