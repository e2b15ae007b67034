//! External authorization: a service of the operator, such as OPA, decides about calls, by the API
//! `envoy.service.auth.v3.Authorization`. It can only restrict: the access rules of the contract apply before.

mod client;
mod decision;
mod messages;
mod outage;

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName,
    header::{AUTHORIZATION, COOKIE, RETRY_AFTER},
};
use kit::{
    balance, error,
    overload::CallerKey,
    principal::{ClientCertificate, Principal},
    trace::TraceContext,
};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::{
    config::AuthorizationConfig,
    http::{
        client_address::Client,
        headers::{self, remove_copies, remove_like},
    },
    tls::{Trust, encoded_pem},
    upstream::{Cluster, Tolerance, Upstreams},
};
pub(crate) use decision::HeaderChanges;
use messages::{
    Address, AttributeContext, CheckRequest, CheckResponse, CheckedPeer, CheckedRequest, RequestAttributes,
    SocketAddress,
};
use outage::OutageLog;

/// The section of the configuration.
const KEY: &str = "gateway.authorization";
/// The largest value of one header that the service receives, merged from all lines.
const MOST_VALUE: usize = 16 * 1_024;

/// After how many seconds a client without a decision may try again.
const RETRY_SECONDS: u64 = 1;

/// The authorization service.
pub(crate) struct Authorizer {
    cluster: Arc<Cluster>,
    /// Of the service, for the log.
    addresses: String,
    outage: OutageLog,
    timeout: Duration,
    fails_open: bool,
    /// The headers that the service receives.
    sends: Vec<HeaderName>,
    /// The headers that only the service sets.
    sets: Vec<HeaderName>,
}

/// A call that the service decides about.
pub(crate) struct CheckedCall<'a> {
    /// `/package.Service/Method`.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) client: Client,
    pub(crate) principal: Option<&'a Principal>,
    pub(crate) certificate: Option<&'a ClientCertificate>,
    pub(crate) trace: &'a TraceContext,
    pub(crate) caller: CallerKey,
    pub(crate) deadline: Option<Instant>,
}

/// Checks the section without its files and without connections. Errors name the key.
pub(crate) fn check(config: &AuthorizationConfig) -> Result<(), String> {
    if !config.is_enabled() {
        let is_default = *config == AuthorizationConfig::default();
        return if is_default { Ok(()) } else { Err(format!("{KEY}.to: is empty, so that the section has no effect")) };
    }
    balance::check(&config.to).map_err(|why| format!("{KEY}.to: {why}"))?;
    if !config.ca.is_empty() && !config.to.iter().any(|address| address.starts_with("https://")) {
        return Err(format!("{KEY}.ca: has no effect, because no address in `to` begins with https://"));
    }
    let (sends, sets) = (names("sends", &config.sends)?, names("sets", &config.sets)?);
    for (key, names) in [("sends", &sends), ("sets", &sets)] {
        if let Some((one, other)) = headers::alike(names) {
            return Err(format!(
                "{KEY}.{key}: {one} and {other} are one name for servers that do not distinguish `_` and `-`; keep one"
            ));
        }
    }
    for name in sets {
        let is_own = headers::is_client_address(&name) || [AUTHORIZATION, COOKIE].contains(&name);
        if is_own || !headers::is_of_client(&name) {
            return Err(format!("{KEY}.sets: {name} is set by clients or by the gateway itself"));
        }
    }
    Ok(())
}

fn names(key: &str, names: &[String]) -> Result<Vec<HeaderName>, String> {
    let parse = |name: &String| {
        HeaderName::try_from(name).map_err(|_| format!("{KEY}.{key}: {name:?} is not a header name, such as x-tenant"))
    };
    names.iter().map(parse).collect()
}

impl Authorizer {
    /// The service that the section names; `None`: there is none. Errors name the key.
    pub(crate) fn new(
        config: &AuthorizationConfig,
        trust: Option<&Trust>,
        upstreams: &Upstreams,
    ) -> Result<Option<Self>, String> {
        check(config)?;
        if !config.is_enabled() {
            return Ok(None);
        }
        let cluster = upstreams.cluster("authorization", &config.to, trust, Tolerance::External);
        Ok(Some(Self {
            addresses: config.to.join(", "),
            outage: OutageLog::default(),
            cluster: cluster.map_err(|why| format!("{KEY}.to: {why}"))?,
            timeout: config.timeout.0,
            fails_open: config.fail_open,
            sends: names("sends", &config.sends)?,
            sets: names("sets", &config.sets)?,
        }))
    }

    /// Removes the headers that only the service sets from a client's request, and copies of those that it reads: it decides
    /// by the value that the upstream receives.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        remove_like(headers, &self.sets);
        remove_copies(headers, &self.sends);
    }

    /// Asks the service about a call. An error is the refusal that the client receives.
    pub(crate) async fn decide(&self, call: CheckedCall<'_>) -> Result<HeaderChanges, Status> {
        // The service learns the end of its own time only: a client with a short deadline causes no failure of it.
        let end = Instant::now() + self.timeout;
        let wait_end = call.deadline.map_or(end, |deadline| deadline.min(end));
        let request = self.request(&call);
        let asking = client::ask(&self.cluster, &request, end, call.caller, call.trace);
        let (outcome, result) = match timeout_at(wait_end, asking).await {
            Ok(Ok(response)) => self.decided(response),
            Ok(Err(why)) => self.failed(&why),
            // The client's own deadline. It is no failure of the service, so that it never opens the gateway.
            Err(_) if wait_end < end => ("abandoned", Err(error::deadline_exceeded())),
            Err(_) => self.failed("no decision in time"),
        };
        metrics::counter!("gateway_authorization_decisions_total", "outcome" => outcome).increment(1);
        result
    }

    fn decided(&self, response: CheckResponse) -> (&'static str, Result<HeaderChanges, Status>) {
        if self.outage.ends() {
            tracing::info!(addresses = self.addresses, "{KEY}: the authorization service decides again");
        }
        match decision::read(response, &self.sets) {
            Ok(changes) => ("allowed", Ok(changes)),
            Err(refusal) => ("denied", Err(*refusal)),
        }
    }

    /// The result without a decision.
    fn failed(&self, why: &str) -> (&'static str, Result<HeaderChanges, Status>) {
        if self.outage.begins(Instant::now()) {
            let effect = if self.fails_open { "calls continue without a decision" } else { "calls are refused" };
            tracing::warn!(
                addresses = self.addresses,
                why,
                "{KEY}: the authorization service does not decide; {effect}"
            );
        }
        ("failed", if self.fails_open { Ok(HeaderChanges::default()) } else { Err(unavailable()) })
    }

    fn request(&self, call: &CheckedCall<'_>) -> CheckRequest {
        let headers =
            self.sends.iter().filter_map(|name| Some((name.as_str().to_owned(), merged(call.headers, name)?)));
        let http = CheckedRequest {
            method: "POST".to_owned(),
            headers: headers.collect(),
            path: call.path.to_owned(),
            size: -1,
            protocol: "HTTP/2".to_owned(),
        };
        let attributes = AttributeContext {
            source: Some(source(call.client, call.certificate)),
            request: Some(RequestAttributes { http: Some(http) }),
            context_extensions: context(call.principal),
        };
        CheckRequest { attributes: Some(attributes) }
    }
}

/// The client, with the certificate of its connection.
fn source(client: Client, certificate: Option<&ClientCertificate>) -> CheckedPeer {
    let address = SocketAddress { address: client.address().to_string() };
    CheckedPeer {
        address: Some(Address { socket_address: Some(address) }),
        principal: certificate.map(|of| of.name().to_owned()).unwrap_or_default(),
        certificate: certificate.map(|of| encoded_pem(&of.der)).unwrap_or_default(),
    }
}

/// The refusal without a decision.
fn unavailable() -> Status {
    let mut status = error::unavailable("the authorization service");
    status.metadata_mut().insert(RETRY_AFTER.as_str(), RETRY_SECONDS.into());
    status
}

/// All lines of a header in one text (RFC 9110, section 5.3); `None`: it has none, or they are not text.
fn merged(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Option<Vec<_>> = headers.get_all(name).iter().map(|line| line.to_str().ok()).collect();
    let text = lines.filter(|lines| !lines.is_empty())?.join(", ");
    (text.len() <= MOST_VALUE).then_some(text)
}

/// The verified principal. Clients cannot state it.
fn context(principal: Option<&Principal>) -> HashMap<String, String> {
    let mut context = HashMap::new();
    let mut add = |name: &str, value: String| context.insert(name.to_owned(), value);
    match principal {
        Some(Principal::User(session)) => {
            add("principal.kind", "user".to_owned());
            add("user.id", session.user.to_string());
            add("session.id", session.id.to_string());
            add("user.roles", session.roles.join(","));
            add("user.scope", session.scopes.join(" "));
        }
        Some(Principal::Service(service)) => {
            add("principal.kind", "service".to_owned());
            add("service.name", service.name().to_owned());
        }
        Some(Principal::External(user)) => {
            add("principal.kind", "external".to_owned());
            add("external.issuer", user.issuer.to_string());
            add("external.subject", user.subject.clone());
            add("external.scope", user.scopes.join(" "));
        }
        None => drop(add("principal.kind", "anonymous".to_owned())),
    }
    context
}

#[cfg(test)]
mod tests;
