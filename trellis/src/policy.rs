//! `trellis policy`: every method with the policy that is in force, and where it comes from.

use std::fmt::Write as _;

use kit::policy::{Access, Policy, Reach, Table};

use crate::config::Config;

/// The table, one block a method, in the order of paths.
pub(crate) fn print(config: &Config) -> Result<String, String> {
    let table = Table::from_descriptors(proto::DESCRIPTORS).map_err(|e| e.to_string())?;
    let mut methods: Vec<_> = table.iter().collect();
    methods.sort_by_key(|(path, _)| *path);
    let mut text = String::new();
    for (path, policy) in methods {
        // Writing to a string cannot fail.
        writeln!(text, "{path}").ok();
        for (what, value, source) in rows(policy, config) {
            writeln!(text, "  {what:<11} {value:<44} {source}").ok();
        }
    }
    Ok(text)
}

type Row = (&'static str, String, &'static str);

const CONTRACT: &str = "contract";

fn rows(policy: &Policy, config: &Config) -> Vec<Row> {
    let mut rows = vec![("access", access(&policy.access), CONTRACT)];
    if !matches!(policy.access, Access::Internal { .. }) {
        rows.push(rate_limit(policy, config));
    }
    rows.push(match policy.deadline {
        Some(deadline) => ("deadline", kit::config::Span(deadline).to_string(), CONTRACT),
        None if policy.streams => ("deadline", "until the token expires".to_owned(), CONTRACT),
        None => ("deadline", config.limits.deadline.to_string(), "limits.deadline"),
    });
    rows.push(("repeatable", if policy.idempotent { "yes" } else { "no" }.to_owned(), CONTRACT));
    if policy.reads_session_cookie {
        rows.push(("cookie", "reads the session cookie".to_owned(), CONTRACT));
    }
    rows
}

fn access(access: &Access) -> String {
    match access {
        Access::Public => "anybody".to_owned(),
        Access::SignedIn { roles, scopes, reach } => {
            let mut text = match reach {
                Reach::Any => "signed in",
                Reach::Own => "signed in, one's own",
                Reach::Member => "members",
                Reach::Owner => "the owner",
                Reach::Author => "the author",
                Reach::AuthorOrOwner => "the author, the owner",
            }
            .to_owned();
            if !roles.is_empty() {
                text += &format!(", role {}", roles.join(" or "));
            }
            if !scopes.is_empty() {
                text += &format!(", scope {}", scopes.join(" and "));
            }
            text
        }
        Access::Internal { callers } => format!("internal: {}", callers.join(", ")),
    }
}

fn rate_limit(policy: &Policy, config: &Config) -> Row {
    let Some(limit) = &policy.rate_limit else {
        let gateway = &config.gateway;
        let text = format!("{} in {} a caller", gateway.default_rate_requests, gateway.default_rate_period);
        return ("rate limit", text, "gateway.default_rate_requests");
    };
    let by = if limit.by_address { "an address" } else { "a caller" };
    let cost = if limit.cost == 1 { String::new() } else { format!(", a call costs {}", limit.cost) };
    ("rate limit", format!("{} {by}{cost}", limit.quota), CONTRACT)
}
