//! `trellis explain`: how a method is called in each protocol, its policy, and what a browser meets.
//!
//! It knows what the configuration, the contracts and the files of descriptors state, and opens no connection.

mod browser;
mod commands;
mod find;
mod gateway_url;
mod shell;
mod text;
mod token;

use gateway::{CatalogMethod, ShownLimits, config::ClientCertificates, method_catalog};
use kit::policy::{Access, Table, has_no_side_effects, is_idempotent};
use serde::Serialize;

use crate::{cli, config::Config, policy};
use browser::Browser;
use commands::{Call, CallCommand};
pub(crate) use find::MethodName;
pub(crate) use gateway_url::GatewayUrl;

/// What the command prints. Serialized for `--json`.
#[derive(Debug, Serialize)]
struct Explanation {
    /// `package.Service/Method`.
    method: String,
    /// The external upstream that serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    /// The file of the contract.
    contract: String,
    kind: Kind,
    idempotency: Idempotency,
    /// Whether a client may call it.
    callable: bool,
    /// Whether a call needs an access token.
    needs_token: bool,
    /// Whether a call needs a client certificate.
    needs_certificate: bool,
    policy: Vec<Setting>,
    gateway: String,
    /// The commands that set ACCESS_TOKEN, where it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    commands: Vec<CallCommand>,
    /// What a reader must know besides.
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    browser: Option<Browser>,
}

/// The directions in which a method streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    TwoWayStream,
}

/// What a repeated call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Idempotency {
    NoSideEffects,
    Idempotent,
    NotIdempotent,
}

/// A row of `trellis policy`.
#[derive(Debug, Serialize)]
struct Setting {
    name: String,
    value: String,
    /// `contract`, or a key of the configuration.
    source: String,
}

/// The policy of a method.
struct PolicyOf {
    /// `None`: no client may call it.
    access: Option<Access>,
    reads_session_cookie: bool,
    needs_certificate: bool,
    rows: Vec<[String; 3]>,
}

/// The text for a method.
pub(crate) fn print(config: &Config, arguments: &cli::Explain) -> Result<String, String> {
    let explanation = explain(&Declared::read(config)?, arguments)?;
    if arguments.json {
        return serde_json::to_string_pretty(&explanation).map_err(|e| e.to_string());
    }
    Ok(text::of(&explanation))
}

/// What the contracts and the files of a configuration declare.
struct Declared<'a> {
    config: &'a Config,
    /// The policies of the mesh.
    table: Table,
    methods: Vec<CatalogMethod>,
}

impl<'a> Declared<'a> {
    fn read(config: &'a Config) -> Result<Self, String> {
        let table = Table::from_descriptors(proto::DESCRIPTORS).map_err(|e| e.to_string())?;
        let methods = method_catalog(&config.gateway, &table).map_err(|error| format!("configuration: {error}"))?;
        Ok(Self { config, table, methods })
    }
}

fn explain(declared: &Declared<'_>, arguments: &cli::Explain) -> Result<Explanation, String> {
    let Declared { config, table, methods } = declared;
    let method = find::find(methods, &arguments.method, &config.gateway)?;
    let policy = policy_of(method, table, config).map_err(|error| format!("configuration: {error}"))?;
    let gateway = GatewayUrl::new(arguments.gateway.as_deref(), &config.gateway)?;
    let origin = arguments.origin.as_deref();
    let browser = origin.map(|origin| Browser::new(origin, &gateway, policy.reads_session_cookie, &config.gateway));
    let needs_token = policy.access.as_ref().is_some_and(Access::is_for_users);
    let callable = policy.access.is_some();
    let needs_certificate = callable && policy.needs_certificate;
    let issuers = token::issuers(method, &config.gateway);
    let (mut commands, mut notes) = (Vec::new(), Vec::new());
    if callable {
        let kind = Kind::of(method);
        let call = Call { method, kind, needs_token, needs_certificate, issuers: &issuers, gateway: &gateway, config };
        (commands, notes) = call.commands()?;
    }
    Ok(Explanation {
        method: name(method).to_owned(),
        upstream: method.upstream.clone(),
        contract: method.descriptor.parent_file().name().to_owned(),
        kind: Kind::of(method),
        idempotency: Idempotency::of(method),
        callable,
        needs_token,
        needs_certificate,
        policy: policy.rows.into_iter().map(|[name, value, source]| Setting { name, value, source }).collect(),
        gateway: gateway.url(),
        token: if token::is_shown(method, needs_token, &issuers) { token::command(methods, &gateway) } else { None },
        commands,
        notes,
        browser: browser.transpose()?,
    })
}

/// `package.Service/Method`.
fn name(method: &CatalogMethod) -> &str {
    method.path.trim_start_matches('/')
}

fn policy_of(method: &CatalogMethod, table: &Table, config: &Config) -> Result<PolicyOf, String> {
    let limits = ShownLimits::new(&config.gateway, table)?;
    // With `required`, no client connects without one.
    let is_required = config.gateway.tls.client_certificates == ClientCertificates::Required;
    let needs_certificate = is_required || limits.needs_client_certificate(&method.path);
    if method.upstream.is_some() {
        let declared = limits.external()?.into_iter().find(|external| external.path == method.path);
        let declared = declared.ok_or_else(|| format!("the policy of {} is not known", name(method)))?;
        let (access, rows) = (declared.access.clone(), policy::external_rows(declared, config));
        // The gateway forwards no cookie to external upstreams.
        return Ok(PolicyOf { access, reads_session_cookie: false, needs_certificate, rows });
    }
    let policy = table.get(&method.path).ok_or_else(|| format!("{} has no policy", name(method)))?;
    let is_internal = matches!(policy.access, Access::Internal { .. });
    Ok(PolicyOf {
        access: (!is_internal).then(|| policy.access.clone()),
        reads_session_cookie: policy.reads_session_cookie,
        needs_certificate,
        rows: policy::rows(&method.path, policy, config, &limits),
    })
}

impl Kind {
    fn of(method: &CatalogMethod) -> Self {
        match (method.descriptor.is_client_streaming(), method.descriptor.is_server_streaming()) {
            (false, false) => Self::Unary,
            (false, true) => Self::ServerStream,
            (true, false) => Self::ClientStream,
            (true, true) => Self::TwoWayStream,
        }
    }

    /// Whether the client sends one message only.
    fn has_one_request(self) -> bool {
        matches!(self, Self::Unary | Self::ServerStream)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unary => "one request, one response",
            Self::ServerStream => "one request, a stream of responses",
            Self::ClientStream => "a stream of requests, one response",
            Self::TwoWayStream => "streams in both directions",
        }
    }
}

impl Idempotency {
    fn of(method: &CatalogMethod) -> Self {
        match (has_no_side_effects(&method.descriptor), is_idempotent(&method.descriptor)) {
            (true, _) => Self::NoSideEffects,
            (_, true) => Self::Idempotent,
            _ => Self::NotIdempotent,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::NoSideEffects => "changes nothing (NO_SIDE_EFFECTS): safe to repeat and to cache",
            Self::Idempotent => "safe to repeat (IDEMPOTENT)",
            Self::NotIdempotent => {
                "not declared safe to repeat: the gateway retries it only if the service did not get it"
            }
        }
    }
}

#[cfg(test)]
mod tests;
