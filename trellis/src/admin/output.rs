//! The result of a command, as text or JSON.

use std::fmt::Write as _;

use prost_types::Timestamp;
use proto::{
    audit::v1::AuditEvent,
    auth::v1::{Account, Session},
};
use serde_json::{Value, json};

/// What a command prints.
pub(super) enum Output {
    Accounts(Vec<Account>),
    Sessions(Vec<Session>),
    Events(Vec<AuditEvent>),
    /// The number of sessions that were ended.
    Ended(i32),
    /// The address to which a link was sent.
    Sent(String),
}

impl Output {
    /// One line for each account, session or record.
    pub(super) fn text(&self) -> String {
        let lines: Vec<String> = match self {
            Self::Accounts(accounts) => accounts.iter().map(account_line).collect(),
            Self::Sessions(sessions) => sessions.iter().map(session_line).collect(),
            Self::Events(events) => events.iter().map(event_line).collect(),
            Self::Ended(1) => vec!["1 session ended".to_owned()],
            Self::Ended(count) => vec![format!("{count} sessions ended")],
            Self::Sent(email) => vec![format!("a link to set a new password will be sent to {email}")],
        };
        if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
    }

    /// An array of objects, or one object.
    pub(super) fn json(&self) -> String {
        let value: Value = match self {
            Self::Accounts(accounts) => accounts.iter().map(account).collect(),
            Self::Sessions(sessions) => sessions.iter().map(session).collect(),
            Self::Events(events) => events.iter().map(event).collect(),
            Self::Ended(count) => json!({ "ended_count": count }),
            Self::Sent(email) => json!({ "email": email }),
        };
        value.to_string()
    }
}

/// Fields as `name=value`, without those that are empty. A value with blanks or control characters is in quotes: it may
/// be a client's text.
fn fields(named: &[(&str, &str)]) -> String {
    let mut line = String::new();
    for (name, value) in named.iter().filter(|(_, value)| !value.is_empty()) {
        let needs_quotes = value.contains(|c: char| c.is_whitespace() || c.is_control());
        let value = if needs_quotes { format!("{value:?}") } else { (*value).to_owned() };
        write!(line, " {name}={value}").ok();
    }
    line
}

fn account_line(account: &Account) -> String {
    let more =
        [("roles", &*account.roles.join(",")), ("email", &account.email), ("created", &time(account.create_time))];
    format!("{} {}{}", account.user_id, state(account), fields(&more))
}

fn session_line(session: &Session) -> String {
    let more =
        [("used", &*time(session.last_use_time)), ("address", &session.address), ("user_agent", &session.user_agent)];
    format!("{}{}", session.session_id, fields(&more))
}

fn event_line(event: &AuditEvent) -> String {
    let calls = if event.calls == 1 { String::new() } else { event.calls.to_string() };
    let more = [
        ("reason", &*event.reason),
        ("calls", &calls),
        ("by", &event.principal_kind),
        ("principal", &event.principal),
        ("session", &event.session),
        ("target", &event.target),
        ("address", &event.address),
        ("email", &event.email),
        ("handle", &event.handle),
        ("user_agent", &event.user_agent),
    ];
    let (service, action, code) = (&event.service, &event.action, &event.code);
    format!("{} {service} {action} {code}{}", time(event.create_time), fields(&more))
}

fn account(account: &Account) -> Value {
    json!({
        "user_id": account.user_id,
        "email": account.email,
        "state": state(account),
        "roles": account.roles,
        "create_time": time(account.create_time),
    })
}

fn session(session: &Session) -> Value {
    json!({
        "session_id": session.session_id,
        "create_time": time(session.create_time),
        "last_use_time": time(session.last_use_time),
        "expire_time": time(session.expire_time),
        "user_agent": session.user_agent,
        "address": session.address,
    })
}

fn event(event: &AuditEvent) -> Value {
    json!({
        "service": event.service,
        "event_id": event.event_id,
        "create_time": time(event.create_time),
        "action": event.action,
        "principal_kind": event.principal_kind,
        "principal": event.principal,
        "session": event.session,
        "peer": event.peer,
        "target": event.target,
        "code": event.code,
        "reason": event.reason,
        "calls": event.calls,
        "trace_id": event.trace_id,
        "person_id": event.person_id,
        "address": event.address,
        "user_agent": event.user_agent,
        "email": event.email,
        "handle": event.handle,
        "personal_erased": event.personal_erased,
        "seq": event.seq,
    })
}

/// `ACCOUNT_STATE_ACTIVE` → `active`.
fn state(account: &Account) -> String {
    account.state().as_str_name().trim_start_matches("ACCOUNT_STATE_").to_ascii_lowercase()
}

fn time(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_clients_are_escaped() {
        let session = Session { session_id: "s".to_owned(), user_agent: "a\u{1b}[2J".to_owned(), ..Session::default() };
        assert_eq!(Output::Sessions(vec![session]).text(), "s user_agent=\"a\\u{1b}[2J\"");
    }

    #[test]
    fn empty_list_is_none_or_an_empty_array() {
        let output = Output::Accounts(Vec::new());
        assert_eq!((output.text().as_str(), output.json().as_str()), ("none", "[]"));
    }
}
