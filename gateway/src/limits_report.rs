//! The limits in force, for `trellis policy`.

use kit::policy::{Access, By, Policy, Table};

use crate::{
    config::{Config, ExternalConfig, is_under},
    external::{self, DescriptorSource},
    rate_limit::{KnownMethods, MethodLimits},
    route_rules::{InFlightCounts, RouteRules},
};

/// The limits in force for all methods.
pub struct ShownLimits<'a> {
    config: &'a Config,
    rules: RouteRules,
}

/// A method of an upstream outside the mesh, or all of its methods.
pub struct ExternalMethod {
    /// The path, or `/prefix.*` if no methods are declared.
    pub path: String,
    /// The access of the method; `None`: it is closed.
    pub access: Option<Access>,
    /// The policy in its contract.
    pub policy: Option<Policy>,
    /// The source of the access: a key of the configuration, or the contract.
    pub source: String,
    /// Rows with the kind of limit, the limit and its source.
    pub limits: Vec<[String; 3]>,
}

impl<'a> ShownLimits<'a> {
    /// Reads the configuration. The error names the invalid key.
    pub fn new(config: &'a Config, policies: &Table) -> Result<Self, String> {
        let known = KnownMethods { policies, external: &config.external, own: None };
        Ok(Self { config, rules: RouteRules::new(config, known, &InFlightCounts::default())? })
    }

    /// The limits of one method.
    pub fn rows(&self, path: &str, policy: &Policy) -> Vec<[String; 3]> {
        self.rows_of(path, Some(policy), By::Caller)
    }

    /// Whether calls of a method need a client certificate.
    pub fn needs_client_certificate(&self, path: &str) -> bool {
        self.rules.of(path).needs_client_certificate
    }

    fn rows_of(&self, scope: &str, policy: Option<&Policy>, by: By) -> Vec<[String; 3]> {
        let mut rows = MethodLimits::new(scope, policy, by, self.config, &self.rules.overrides).rows();
        rows.extend(self.rules.of(scope).rows());
        rows
    }

    /// The methods of the upstreams outside the mesh that files declare. Errors name the key.
    pub fn external(&self) -> Result<Vec<ExternalMethod>, String> {
        let mut all = Vec::new();
        for (prefix, of) in &self.config.external {
            match external::read_file(prefix, &DescriptorSource::of(of)) {
                Some(contract) => {
                    let contract = contract?;
                    let owned =
                        contract.methods.iter().filter(|method| owner(self.config, &method.path) == Some(prefix));
                    all.extend(owned.map(|method| self.declared(prefix, of, &method.path, method.policy.as_ref())));
                }
                None => all.push(self.undeclared(prefix, of)),
            }
        }
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }

    fn declared(&self, prefix: &str, of: &ExternalConfig, path: &str, policy: Option<&Policy>) -> ExternalMethod {
        let (access, source) = match policy {
            // Internal methods are closed to callers.
            Some(Policy { access: Access::Internal { .. }, .. }) => (None, "contract".to_owned()),
            Some(policy) => (Some(policy.access.clone()), "contract".to_owned()),
            None => (of.access.access(), access_key(prefix)),
        };
        self.one(path.to_owned(), path, access, policy, source)
    }

    fn undeclared(&self, prefix: &str, of: &ExternalConfig) -> ExternalMethod {
        let what = if of.descriptors.is_empty() { "" } else { " (its methods are known after reflection)" };
        self.one(format!("/{prefix}.*{what}"), prefix, of.access.access(), None, access_key(prefix))
    }

    fn one(
        &self,
        path: String,
        scope: &str,
        access: Option<Access>,
        policy: Option<&Policy>,
        source: String,
    ) -> ExternalMethod {
        let by = if access == Some(Access::Public) && policy.is_none() { By::Address } else { By::Caller };
        let limits = match &access {
            Some(_) => self.rows_of(scope, policy, by),
            None => Vec::new(),
        };
        ExternalMethod { path, access, policy: policy.cloned(), source, limits }
    }
}

/// The longest prefix of an external upstream that contains a path.
pub(crate) fn owner<'a>(config: &'a Config, path: &str) -> Option<&'a String> {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    config.external.keys().filter(|prefix| is_under(prefix, service)).max_by_key(|prefix| prefix.len())
}

fn access_key(prefix: &str) -> String {
    format!("gateway.external.{prefix:?}.access")
}
