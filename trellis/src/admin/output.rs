//! The result of a command, as text or JSON.

use std::fmt::Write as _;

use prost_types::Timestamp;
use proto::auth::v1::{Account, Session};
use serde_json::{Value, json};

/// What a command prints.
pub(super) enum Output {
    Accounts(Vec<Account>),
    Sessions(Vec<Session>),
    /// The number of sessions that were ended.
    Ended(i32),
}

impl Output {
    /// One line for each account or session.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        match self {
            // Writing to a string cannot fail.
            Self::Accounts(accounts) => accounts.iter().for_each(|account| {
                let (state, roles) = (state(account), account.roles.join(","));
                let created = time(account.create_time);
                writeln!(text, "{} {} {state} roles={roles} created={created}", account.user_id, account.email).ok();
            }),
            Self::Sessions(sessions) => sessions.iter().for_each(|session| {
                let (id, used, address) = (&session.session_id, time(session.last_use_time), &session.address);
                writeln!(text, "{id} used={used} address={address} client={:?}", session.user_agent).ok();
            }),
            Self::Ended(count) => return format!("{count} {} ended", if *count == 1 { "session" } else { "sessions" }),
        }
        if text.is_empty() { "none".to_owned() } else { text }
    }

    /// An array, or the number of ended sessions.
    pub(super) fn json(&self) -> String {
        let value = match self {
            Self::Accounts(accounts) => accounts.iter().map(account).collect(),
            Self::Sessions(sessions) => sessions.iter().map(session).collect(),
            Self::Ended(count) => json!({"ended_count": count}),
        };
        format!("{value:#}")
    }
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

/// `ACCOUNT_STATE_ACTIVE` → `active`.
fn state(account: &Account) -> String {
    account.state().as_str_name().trim_start_matches("ACCOUNT_STATE_").to_ascii_lowercase()
}

fn time(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}
