//! The rules of the configuration for methods, by their names: overrides of rate limits, limits on calls in flight, and
//! maintenance.

mod in_flight;
mod maintenance;
mod scopes;
mod selection;

use std::{sync::Arc, time::Duration};

use kit::{error, principal::Principal};
use tonic::{Status, metadata::MetadataValue};

pub(crate) use in_flight::{InFlightCounts, InFlightPermit};

use crate::{
    config::{AuthorizationConfig, Config},
    http::client_address::Client,
    rate_limit::{DeclaredMethods, KnownMethods, Overrides},
};
use in_flight::{InFlightLimit, InFlightRule};
use maintenance::Maintenance;
use scopes::{RequiredScopes, ScopeRule};
use selection::Selection;

/// All rules, checked.
#[derive(Default)]
pub(crate) struct RouteRules {
    pub(crate) overrides: Overrides,
    in_flight: Vec<InFlightRule>,
    maintenance: Vec<Arc<Maintenance>>,
    /// The methods whose responses may hold HTTP controls; `None`: no method.
    http_controls: Option<Selection>,
    /// The methods about which the authorization service decides, and those of them that are excepted.
    authorization: Option<(Selection, Option<Selection>)>,
    /// The methods that need a client certificate; `None`: no method.
    client_certificates: Option<Selection>,
    scopes: Vec<ScopeRule>,
}

impl RouteRules {
    /// Reads the rules. A method that is not `known` is an error that names the key.
    pub(crate) fn new(config: &Config, known: KnownMethods<'_>, counts: &InFlightCounts) -> Result<Self, String> {
        Ok(Self {
            overrides: Overrides::new(&config.rate_limits, known)?,
            in_flight: in_flight::read(&config.in_flight, known, counts)?,
            maintenance: maintenance::read(&config.maintenance, known)?,
            http_controls: http_controls(&config.http_controls, known)?,
            authorization: authorization(&config.authorization, known)?,
            scopes: scopes::read(&config.required_scopes, known)?,
            client_certificates: client_certificates(&config.tls.client_certificate_methods, known)?,
        })
    }

    /// The methods that the descriptors of upstreams do not declare. Each message names the key.
    pub(crate) fn undeclared(&self, declared: &DeclaredMethods<'_>) -> Vec<String> {
        let in_flight = self.in_flight.iter().map(|rule| &rule.selection);
        let maintenance = self.maintenance.iter().map(|rule| &rule.selection);
        let authorization =
            self.authorization.iter().flat_map(|(methods, except)| std::iter::once(methods).chain(except));
        let optional = self.http_controls.iter().chain(&self.client_certificates);
        let scopes = self.scopes.iter().map(|rule| &rule.selection);
        let selections = in_flight.chain(maintenance).chain(scopes).chain(optional).chain(authorization);
        let mut all = self.overrides.undeclared(declared);
        all.extend(selections.flat_map(|selection| selection.undeclared(declared)));
        all
    }

    /// The rules of a method whose calls are counted as `scope`.
    pub(crate) fn of(&self, scope: &str) -> MethodRules {
        MethodRules {
            in_flight: in_flight::of(&self.in_flight, scope),
            maintenance: maintenance::of(&self.maintenance, scope),
            http_controls: self.http_controls.as_ref().is_some_and(|selection| selection.covers(scope)),
            is_externally_authorized: self.authorization.as_ref().is_some_and(|(methods, except)| {
                methods.covers(scope) && !except.as_ref().is_some_and(|except| except.covers(scope))
            }),
            scopes: scopes::of(&self.scopes, scope),
            needs_client_certificate: self.client_certificates.as_ref().is_some_and(|of| of.covers(scope)),
        }
    }
}

/// The rules of one method, besides its rate limits.
#[derive(Default)]
pub(crate) struct MethodRules {
    /// Empty: no limit.
    in_flight: Arc<[InFlightLimit]>,
    maintenance: Option<Arc<Maintenance>>,
    /// Empty: none.
    scopes: RequiredScopes,
    /// Whether responses may state the status and some headers of HTTP.
    pub(crate) http_controls: bool,
    /// Whether the authorization service decides about calls.
    pub(crate) is_externally_authorized: bool,
    /// Whether calls need a verified client certificate.
    pub(crate) needs_client_certificate: bool,
}

impl MethodRules {
    /// Refuses the call during maintenance, unless the caller is allowed.
    pub(crate) fn check_maintenance(&self, principal: Option<&Principal>, client: Client) -> Result<(), Status> {
        self.maintenance.as_ref().map_or(Ok(()), |maintenance| maintenance.check(principal, client))
    }

    /// Whether callers need scopes, and so a token.
    pub(crate) fn needs_scopes(&self) -> bool {
        !self.scopes.is_empty()
    }

    /// Refuses a principal without one of the scopes that the method requires.
    pub(crate) fn check_scopes(&self, principal: &Principal) -> Result<(), Status> {
        scopes::check(&self.scopes, principal)
    }

    /// Takes the call into all limits on calls in flight, or into none. `jitter` is a random number from 0 to 1.
    pub(crate) fn enter(&self, jitter: impl FnOnce() -> f64) -> Result<Option<InFlightPermit>, Status> {
        in_flight::enter(&self.in_flight, jitter)
    }

    /// The rows of `trellis policy`: the kind of rule, its effect, and its key.
    pub(crate) fn rows(&self) -> Vec<[String; 3]> {
        let in_flight = self.in_flight.iter().map(InFlightLimit::row);
        let maintenance = self.maintenance.iter().map(|maintenance| maintenance.row());
        let controls =
            ["http".to_owned(), "responses may state status and headers".to_owned(), HTTP_CONTROLS.to_owned()];
        let decided = "decided by the authorization service".to_owned();
        let decided = ["access".to_owned(), decided, "gateway.authorization".to_owned()];
        let decided = self.is_externally_authorized.then_some(decided);
        let certificate = ["access", "a client certificate is required", CLIENT_CERTIFICATES].map(str::to_owned);
        let certificate = self.needs_client_certificate.then_some(certificate);
        certificate
            .into_iter()
            .chain(scopes::rows(&self.scopes))
            .chain(decided)
            .chain(in_flight)
            .chain(maintenance)
            .chain(self.http_controls.then_some(controls))
            .collect()
    }
}

/// The key of the methods whose responses may hold HTTP controls.
const HTTP_CONTROLS: &str = "gateway.http_controls";

/// Reads the key. The gateway's own services have no HTTP forms.
fn http_controls(methods: &[String], known: KnownMethods<'_>) -> Result<Option<Selection>, String> {
    if methods.is_empty() {
        return Ok(None);
    }
    let selection = Selection::new(HTTP_CONTROLS.to_owned(), methods, known)?;
    match selection.introspection() {
        Some(own) => Err(format!("{HTTP_CONTROLS}: {own:?} is served by the gateway itself and has no HTTP form")),
        None => Ok(Some(selection)),
    }
}

/// The key of the methods that need a client certificate.
const CLIENT_CERTIFICATES: &str = "gateway.tls.client_certificate_methods";

/// Reads the key.
fn client_certificates(methods: &[String], known: KnownMethods<'_>) -> Result<Option<Selection>, String> {
    if methods.is_empty() {
        return Ok(None);
    }
    Selection::new(CLIENT_CERTIFICATES.to_owned(), methods, known).map(Some)
}

/// Reads the methods of the authorization service; `None`: there is none.
fn authorization(
    config: &AuthorizationConfig,
    known: KnownMethods<'_>,
) -> Result<Option<(Selection, Option<Selection>)>, String> {
    if !config.is_enabled() {
        return Ok(None);
    }
    let methods = Selection::new("gateway.authorization.methods".to_owned(), &config.methods, known)?;
    let except = Selection::new("gateway.authorization.except".to_owned(), &config.except, known)?;
    if let Some(own) = methods.introspection() {
        return Err(format!("gateway.authorization.methods: {own:?} is served by the gateway itself"));
    }
    Ok(Some((methods, (!config.except.is_empty()).then_some(except))))
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
