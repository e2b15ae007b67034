//! The methods of a configuration with their HTTP forms, for `trellis explain`.

use std::{collections::HashMap, sync::Arc};

use graphql::{Method, RootField, Source, root_fields};
use kit::policy::{Access, Policy, Table, path_of};
use prost_reflect::MethodDescriptor;
use transcode::{Registry, http_rule::Binding};

use crate::{
    config::{Config, ExternalConfig},
    external::{self, Contract, DescriptorSource},
    limits_report::owner,
    protocol::registry,
    routes::{FormTable, form_tables},
};

/// A method that the contracts declare, callable or not.
pub struct CatalogMethod {
    /// Its path in gRPC, `/package.Service/Method`.
    pub path: String,
    /// Its declaration.
    pub descriptor: MethodDescriptor,
    /// The messages of its descriptors.
    pub registry: Registry,
    /// The prefix of the external upstream that serves it; `None`: the mesh.
    pub upstream: Option<String>,
    /// Its HTTP forms that requests reach.
    pub forms: Vec<HttpForm>,
    /// Its root field in GraphQL.
    pub graphql: Option<RootField>,
}

/// An HTTP form of a method (`google.api.http`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpForm {
    /// The HTTP method; `*` is any.
    pub http_method: String,
    /// The template of the path, such as `/v1/users/{user_id}`.
    pub path: String,
    /// The fields that the path holds, dotted.
    pub variables: Vec<String>,
    /// The field that the body holds; `*`: all that the path does not hold. `None`: no body.
    pub body: Option<String>,
    /// The body is a `google.api.HttpBody`: bytes of any content type.
    pub takes_bytes: bool,
    /// The body of a response is a `google.api.HttpBody`.
    pub gives_bytes: bool,
}

/// The methods of the mesh, whose contracts are `policies`, and of the external upstreams whose descriptors are files, in
/// the order of their paths. Errors name the key.
pub fn method_catalog(config: &Config, policies: &Table) -> Result<Vec<CatalogMethod>, String> {
    let mesh = registry(policies.pool());
    let contracts = contracts(config)?;
    // The gateway logs the faults of the forms.
    let (tables, _) = form_tables(
        open_methods(policies, &mesh),
        contracts.iter().map(|of| (Arc::clone(&of.prefix), of.open_methods())).collect(),
        &config.forward_auth.path,
    )?;
    let mut forms = forms(&tables);
    let mut fields = graphql_fields(config, policies, &mesh, &contracts);
    let mut all = Vec::new();
    for (path, descriptor) in policies.descriptors().filter(|(path, _)| policies.get(path).is_some()) {
        let forms = forms.remove(&(None, path.clone())).unwrap_or_default();
        let graphql = fields.remove(&(None, path.clone()));
        all.push(CatalogMethod { path, descriptor, registry: mesh.clone(), upstream: None, forms, graphql });
    }
    for DescribedUpstream { prefix, contract, .. } in &contracts {
        for method in contract.methods.iter().filter(|method| is_owner(config, prefix, &method.path)) {
            let (path, upstream) = (method.path.clone(), Some(prefix.to_string()));
            let forms = forms.remove(&(upstream.clone(), path.clone())).unwrap_or_default();
            let graphql = fields.remove(&(upstream.clone(), path.clone()));
            let (descriptor, registry) = (method.descriptor.clone(), contract.registry().clone());
            all.push(CatalogMethod { path, descriptor, registry, upstream, forms, graphql });
        }
    }
    all.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(all)
}

/// An external upstream whose descriptors are a file.
struct DescribedUpstream<'a> {
    prefix: Arc<str>,
    config: &'a ExternalConfig,
    contract: Contract,
}

impl DescribedUpstream<'_> {
    /// The methods that clients may call.
    fn open_methods(&self) -> Vec<(&Registry, MethodDescriptor)> {
        let is_open = |policy: &Option<Policy>| match policy {
            Some(policy) => is_open(policy),
            None => self.config.access.access().is_some(),
        };
        let open = self.contract.methods.iter().filter(|method| is_open(&method.policy));
        open.map(|method| (self.contract.registry(), method.descriptor.clone())).collect()
    }
}

/// The external upstreams whose descriptors are files.
fn contracts(config: &Config) -> Result<Vec<DescribedUpstream<'_>>, String> {
    let read = config.external.iter().filter_map(|(prefix, config)| {
        let contract = external::read_file(prefix, &DescriptorSource::of(config))?;
        Some(contract.map(|contract| DescribedUpstream { prefix: prefix.as_str().into(), config, contract }))
    });
    read.collect()
}

fn is_owner(config: &Config, prefix: &str, path: &str) -> bool {
    owner(config, path).is_some_and(|owner| owner == prefix)
}

/// The methods of the mesh that clients may call.
fn open_methods<'a>(policies: &Table, registry: &'a Registry) -> Vec<(&'a Registry, MethodDescriptor)> {
    let open = policies.descriptors().filter(|(path, _)| policies.get(path).is_some_and(is_open));
    open.map(|(_, method)| (registry, method)).collect()
}

fn is_open(policy: &Policy) -> bool {
    !matches!(policy.access, Access::Internal { .. })
}

/// The root fields in GraphQL, by the upstream and the path of their method. As in the schema of the gateway, an external
/// upstream whose names conflict with those before it has none.
fn graphql_fields(
    config: &Config,
    policies: &Table,
    mesh: &Registry,
    contracts: &[DescribedUpstream<'_>],
) -> HashMap<(Option<String>, String), RootField> {
    let mut fields = HashMap::new();
    if !config.graphql.enabled {
        return fields;
    }
    let uncounted = |methods: Vec<(&Registry, MethodDescriptor)>| {
        methods.into_iter().map(|(_, descriptor)| Method { descriptor, cost: 1 }).collect()
    };
    let mut sources = vec![Source { prefix: None, registry: mesh, methods: uncounted(open_methods(policies, mesh)) }];
    for of in contracts.iter().filter(|of| of.config.graphql) {
        let owned = of.open_methods().into_iter().filter(|(_, method)| is_owner(config, &of.prefix, &path_of(method)));
        sources.push(Source {
            prefix: Some(&of.prefix),
            registry: of.contract.registry(),
            methods: uncounted(owned.collect()),
        });
        if root_fields(&sources).is_err() {
            sources.pop();
        }
    }
    for field in root_fields(&sources).unwrap_or_default() {
        let path = path_of(field.method());
        let upstream = match policies.get(&path) {
            Some(_) => None,
            None => owner(config, &path).map(ToString::to_string),
        };
        fields.insert((upstream, path), field);
    }
    fields
}

/// The reachable forms, by the upstream and the path of their method.
fn forms(tables: &[FormTable]) -> HashMap<(Option<String>, String), Vec<HttpForm>> {
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    for FormTable { prefix, table, routed } in tables {
        for binding in routed.iter().map(|at| &table.bindings()[*at]) {
            let key = (prefix.as_ref().map(ToString::to_string), path_of(binding.method()));
            all.entry(key).or_default().push(HttpForm::of(binding));
        }
    }
    all
}

impl HttpForm {
    fn of(binding: &Binding) -> Self {
        let template = binding.template();
        Self {
            http_method: binding.http_method().to_owned(),
            path: template.to_string(),
            variables: template.variables().map(str::to_owned).collect(),
            body: binding.body().map(str::to_owned),
            takes_bytes: binding.request_http_body().is_some(),
            gives_bytes: binding.response_http_body().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_has_the_forms_of_open_methods() {
        let policies = Table::from_descriptors(proto::DESCRIPTORS).unwrap();
        let all = method_catalog(&Config::default(), &policies).unwrap();
        let form = |path: &str| all.iter().find(|method| method.path == path).unwrap().forms.first().cloned();
        let update = form("/trellis.users.v1.UsersService/UpdateUser").unwrap();
        assert_eq!((&*update.http_method, update.variables.len()), ("PATCH", 1));
        let field = |path: &str| all.iter().find(|method| method.path == path).unwrap().graphql.clone();
        let list = field("/trellis.users.v1.UsersService/ListUsers").unwrap();
        assert!(list.document(&serde_json::json!({})).starts_with("query { listUsers { nodes {"));
        assert!(field("/trellis.users.v1.UsersService/CreateUser").is_none(), "it is internal");
        assert_eq!(form("/trellis.users.v1.UsersService/CreateUser"), None, "it is internal");
    }
}
