//! `trellis policy`: the effective policy of every method, including those of external upstreams, and the source of
//! each value.

use std::fmt::Write as _;

use gateway::{ExternalMethod, ShownLimits};
use kit::policy::{Access, NeededPermission, Policy, Table};

use crate::config::Config;

/// The policies, one block per method, in the order of paths.
pub(crate) fn print(config: &Config) -> Result<String, String> {
    let table = Table::from_descriptors(proto::DESCRIPTORS).map_err(|e| e.to_string())?;
    let mut methods: Vec<_> = table.iter().collect();
    methods.sort_by_key(|(path, _)| *path);
    let limits = ShownLimits::new(&config.gateway, &table).map_err(|error| format!("configuration: {error}"))?;
    let mut text = String::new();
    for (path, policy) in methods {
        // Writing to a string cannot fail.
        writeln!(text, "{path}").ok();
        write_rows(&mut text, rows(path, policy, config, &limits));
    }
    for method in limits.external().map_err(|error| format!("configuration: {error}"))? {
        writeln!(text, "{}", method.path).ok();
        write_rows(&mut text, external_rows(method, config));
    }
    Ok(text)
}

fn write_rows(text: &mut String, rows: Vec<[String; 3]>) {
    for [what, value, source] in rows {
        writeln!(text, "  {what:<13} {value:<44} {source}").ok();
    }
}

const CONTRACT: &str = "contract";

/// The policy of a method of the mesh: names, values, and their sources.
pub(crate) fn rows(path: &str, policy: &Policy, config: &Config, limits: &ShownLimits<'_>) -> Vec<[String; 3]> {
    let mut rows = vec![row("access", access(&policy.access), CONTRACT)];
    if !matches!(policy.access, Access::Internal { .. }) {
        rows.extend(limits.rows(path, policy));
    }
    rows.extend(requirements(policy));
    rows.extend(behavior(policy, config));
    if policy.reads_session_cookie {
        rows.push(row("cookie", "reads the session cookie".to_owned(), CONTRACT));
    }
    if policy.audit {
        rows.push(row("audit", "calls are recorded".to_owned(), CONTRACT));
    }
    rows
}

/// The policy of a method of an external upstream.
pub(crate) fn external_rows(method: ExternalMethod, config: &Config) -> Vec<[String; 3]> {
    let access = method.access.as_ref().map_or_else(|| "none".to_owned(), access);
    let mut rows = vec![row("access", access, &method.source)];
    rows.extend(method.limits);
    rows.extend(method.policy.iter().flat_map(requirements));
    rows.extend(method.policy.iter().flat_map(|policy| behavior(policy, config)));
    rows
}

fn row(what: &str, value: String, source: &str) -> [String; 3] {
    [what.to_owned(), value, source.to_owned()]
}

/// What a signed-in user needs besides.
fn requirements(policy: &Policy) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    if let Access::SignedIn { permissions } = &policy.access {
        let of = |needed: &NeededPermission| format!("{}: {}", needed.scope, needed.roles.join(" or "));
        rows.extend(permissions.iter().map(|needed| row("permission", of(needed), CONTRACT)));
    }
    if let Some(max_age) = policy.step_up {
        rows.push(row("step up", format!("a proof of at most {}", kit::config::Span(max_age)), CONTRACT));
    }
    rows
}

/// How the gateway and the services handle an admitted call.
fn behavior(policy: &Policy, config: &Config) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    rows.push(match policy.deadline {
        Some(deadline) => row("deadline", kit::config::Span(deadline).to_string(), CONTRACT),
        None if policy.streams => row("deadline", "until the token expires".to_owned(), CONTRACT),
        None => row("deadline", config.limits.deadline.to_string(), "limits.deadline"),
    });
    rows.push(row("idempotent", if policy.idempotent { "yes" } else { "no" }.to_owned(), CONTRACT));
    rows.push(row("priority", policy.priority.name().to_owned(), CONTRACT));
    rows
}

fn access(access: &Access) -> String {
    match access {
        Access::Public => "public".to_owned(),
        Access::SignedIn { .. } => "signed in".to_owned(),
        Access::Internal { callers } => format!("internal: {}", callers.join(", ")),
    }
}
