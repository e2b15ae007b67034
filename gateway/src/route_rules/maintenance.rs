//! Maintenance: methods that refuse calls, except those of allowed callers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kit::{config::quoted, principal::Principal};
use tonic::Status;

use super::{later, selection::Selection};
use crate::{
    config::{MaintenanceConfig, Networks},
    http::client_address::Client,
    rate_limit::KnownMethods,
};

/// The section of the configuration.
const KEY: &str = "gateway.maintenance";

/// Refuses calls of some methods.
pub(super) struct Maintenance {
    name: String,
    pub(super) selection: Selection,
    message: String,
    retry_after: Duration,
    roles: Vec<String>,
    networks: Networks,
}

/// Reads the sections that are enabled. Errors name the key.
pub(super) fn read(
    config: &BTreeMap<String, MaintenanceConfig>,
    known: KnownMethods<'_>,
) -> Result<Vec<Arc<Maintenance>>, String> {
    let all = config.iter().map(|(name, of)| Ok((of.enabled, Maintenance::new(name, of, known)?)));
    let all: Vec<_> = all.collect::<Result<_, String>>()?;
    Ok(all.into_iter().filter(|(enabled, _)| *enabled).map(|(_, one)| Arc::new(one)).collect())
}

/// The most specific maintenance of a method, then the first by name.
pub(super) fn of(rules: &[Arc<Maintenance>], scope: &str) -> Option<Arc<Maintenance>> {
    let ranked = rules.iter().filter_map(|rule| Some((rule.selection.rank(scope)?, rule)));
    // `max_by_key` returns the last of several equal ones.
    ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, rule)| Arc::clone(rule))
}

impl Maintenance {
    fn new(name: &str, of: &MaintenanceConfig, known: KnownMethods<'_>) -> Result<Self, String> {
        let key = format!("{KEY}.{}", quoted(name));
        of.check().map_err(|error| format!("{key}.{error}"))?;
        let selection = Selection::new(format!("{key}.methods"), &of.methods, known)?;
        if let Some(own) = selection.introspection() {
            return Err(format!("{key}.methods: {own:?} is served by the gateway itself, which stays available"));
        }
        let networks = Networks::new(&of.allow_addresses).map_err(|error| format!("{key}.allow_addresses: {error}"))?;
        let (message, retry_after) = (of.message.clone(), of.retry_after.0);
        Ok(Self { name: name.to_owned(), selection, message, retry_after, roles: of.allow_roles.clone(), networks })
    }

    /// Refuses the call unless the caller is allowed. A client whose address is unknown is in no network.
    pub(super) fn check(&self, principal: Option<&Principal>, client: Client) -> Result<(), Status> {
        let roles = principal.map_or(&[][..], Principal::roles);
        let is_within = matches!(client, Client::Known(address) if self.networks.contain(address));
        if is_within || roles.iter().any(|role| self.roles.contains(role)) {
            return Ok(());
        }
        Err(later(crate::reason::MAINTENANCE, &self.message, self.retry_after))
    }

    /// A row of `trellis policy`.
    pub(super) fn row(&self) -> [String; 3] {
        let exceptions =
            if self.roles.is_empty() && self.networks.is_empty() { "" } else { ", except allowed callers" };
        ["maintenance".to_owned(), format!("calls are refused{exceptions}"), format!("{KEY}.{}", quoted(&self.name))]
    }
}
