//! The check of a configuration before a gateway is started with it.

use kit::policy::{Access, Table};

use super::{graphql, last_good::LastGood};
use crate::{
    authorization,
    config::Config,
    external,
    http::{client_address::Proxies, cors::Origins},
    issuers,
    protocol::registry,
    rate_limit::KnownMethods,
    route_rules::{InFlightCounts, RouteRules},
    routes::{check_forward_auth, form_tables},
};

impl Config {
    /// Checks everything that a gateway checks at its start, including the files that the configuration names, but
    /// makes no connections. Errors name the key.
    ///
    /// `without_users`: the gateway has no mesh, and so no auth service.
    pub fn check(&self, policies: &Table, without_users: bool) -> Result<(), String> {
        Origins::new(&self.cors_origins)?;
        Proxies::new(&self.trusted_proxies, self.client_address_header)?;
        self.external.iter().try_for_each(|(prefix, of)| external::check(prefix, of))?;
        self.external.iter().try_for_each(|(prefix, of)| external::check_audience(prefix, of, policies))?;
        self.external.iter().try_for_each(|(prefix, of)| external::check_callers(prefix, of, without_users))?;
        authorization::check(&self.authorization)?;
        issuers::check(self)?;
        check_forward_auth(self, without_users)?;
        check_forms(policies, &self.forward_auth.path)?;
        let (known, _) = LastGood::read(self, None)?;
        let known_methods = KnownMethods { policies, external: &self.external, own: None };
        let rules = RouteRules::new(self, known_methods, &InFlightCounts::default())?;
        let declared = external::declared_methods(&known.contracts);
        rules.undeclared(&declared).into_iter().next().map_or(Ok(()), Err)?;
        graphql::check(self, policies, &known.contracts)
    }
}

/// Checks that no HTTP form of the mesh has a path of the gateway itself.
fn check_forms(policies: &Table, forward_auth: &str) -> Result<(), String> {
    let registry = registry(policies.pool());
    let is_open = |path: &str| policies.get(path).is_some_and(|of| !matches!(of.access, Access::Internal { .. }));
    let mesh = policies.descriptors().filter(|(path, _)| is_open(path)).map(|(_, method)| (&registry, method));
    form_tables(mesh.collect(), Vec::new(), forward_auth).map(drop)
}
