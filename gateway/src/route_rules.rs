//! The rules of the configuration for methods, by their names: overrides of rate limits, limits on calls in flight, and
//! maintenance.

mod in_flight;
mod maintenance;
mod selection;

use std::{sync::Arc, time::Duration};

use kit::{error, principal::Principal};
use tonic::{Status, metadata::MetadataValue};

pub(crate) use in_flight::{InFlightCounts, InFlightPermit};

use crate::{
    config::Config,
    http::client_address::Client,
    rate_limit::{DeclaredMethods, KnownMethods, Overrides},
};
use in_flight::{InFlightLimit, InFlightRule};
use maintenance::Maintenance;

/// All rules, checked.
#[derive(Default)]
pub(crate) struct RouteRules {
    pub(crate) overrides: Overrides,
    in_flight: Vec<InFlightRule>,
    maintenance: Vec<Arc<Maintenance>>,
}

impl RouteRules {
    /// Reads the rules. A method that is not `known` is an error that names the key.
    pub(crate) fn new(config: &Config, known: KnownMethods<'_>, counts: &InFlightCounts) -> Result<Self, String> {
        Ok(Self {
            overrides: Overrides::new(&config.rate_limits, known)?,
            in_flight: in_flight::read(&config.in_flight, known, counts)?,
            maintenance: maintenance::read(&config.maintenance, known)?,
        })
    }

    /// The methods that the descriptors of upstreams do not declare. Each message names the key.
    pub(crate) fn undeclared(&self, declared: &DeclaredMethods<'_>) -> Vec<String> {
        let in_flight = self.in_flight.iter().map(|rule| &rule.selection);
        let selections = in_flight.chain(self.maintenance.iter().map(|rule| &rule.selection));
        let mut all = self.overrides.undeclared(declared);
        all.extend(selections.flat_map(|selection| selection.undeclared(declared)));
        all
    }

    /// The rules of a method whose calls are counted as `scope`.
    pub(crate) fn of(&self, scope: &str) -> MethodRules {
        MethodRules {
            in_flight: in_flight::of(&self.in_flight, scope),
            maintenance: maintenance::of(&self.maintenance, scope),
        }
    }
}

/// The rules of one method, besides its rate limits.
#[derive(Default)]
pub(crate) struct MethodRules {
    /// Empty: no limit.
    in_flight: Arc<[InFlightLimit]>,
    maintenance: Option<Arc<Maintenance>>,
}

impl MethodRules {
    /// Refuses the call during maintenance, unless the caller is allowed.
    pub(crate) fn check_maintenance(&self, principal: Option<&Principal>, client: Client) -> Result<(), Status> {
        self.maintenance.as_ref().map_or(Ok(()), |maintenance| maintenance.check(principal, client))
    }

    /// Takes the call into all limits on calls in flight, or into none. `jitter` is a random number from 0 to 1.
    pub(crate) fn enter(&self, jitter: impl FnOnce() -> f64) -> Result<Option<InFlightPermit>, Status> {
        in_flight::enter(&self.in_flight, jitter)
    }

    /// The rows of `trellis policy`: the kind of rule, its effect, and its key.
    pub(crate) fn rows(&self) -> Vec<[String; 3]> {
        let in_flight = self.in_flight.iter().map(InFlightLimit::row);
        in_flight.chain(self.maintenance.iter().map(|maintenance| maintenance.row())).collect()
    }
}

/// UNAVAILABLE with a delay: in the details, as pushback for clients that retry by themselves, and in `retry-after`, in
/// whole seconds, for clients that read headers.
fn later(reason: &str, message: &str, retry_after: Duration) -> Status {
    let mut status = error::later(reason, message, retry_after);
    let seconds = u64::try_from(retry_after.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
    status.metadata_mut().insert("retry-after", MetadataValue::from(seconds.max(1)));
    status
}

#[cfg(test)]
mod tests;
