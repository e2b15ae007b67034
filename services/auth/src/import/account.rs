//! Checks the account of a line.

use std::str::FromStr as _;

use kit::{ClockAndRng, Timestamp};
use proto::validate;
use serde::Deserialize;

use super::lines::Refused;
use crate::{
    domain::{Account, AccountId, EmailAddress, PasswordHash, State, jobs::AccountImported},
    password::Memory,
    store::NewImport,
};

/// The names of the fields.
pub(super) const FIELDS: [&str; 6] = ["email", "hash", "handle", "display_name", "verified", "created"];

/// The account of a line, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    email: String,
    hash: String,
    /// Without it, users gets a handle that does not reveal the address.
    #[serde(default)]
    handle: Option<String>,
    #[serde(default)]
    display_name: Option<String>,
    /// Whether the other service knows that the owner reads mail at the address.
    #[serde(default)]
    verified: Option<bool>,
    /// RFC 3339.
    #[serde(default)]
    created: Option<String>,
}

impl Record {
    /// Checks each field by the rules of a sign-up.
    pub(super) fn check(self, memory: &Memory, clock_rng: &ClockAndRng) -> Result<NewImport, Refused> {
        let email = EmailAddress::parse(&self.email).map_err(|why| ("email", why.to_string()))?;
        let hash = self.hash.trim().to_owned();
        memory.check(&hash).map_err(|why| ("hash", why.to_string()))?;
        let now = clock_rng.now();
        let create_time = stated(self.created).map_or(Ok(now), |text| time(&text, now))?;
        let id = clock_rng.new_id();
        let handle = stated(self.handle);
        let display_name = stated(self.display_name);
        let account_id = AccountId(id);
        let job = AccountImported { account_id: id, handle, display_name };
        let profile = super::profile::requested(&job);
        if let Some(violation) = validate::violations(&profile).into_iter().next() {
            let field = if violation.field == "handle" { "handle" } else { "display_name" };
            return Err((field, violation.message));
        }
        let verify_time = (self.verified == Some(true)).then_some(now);
        let (password, state) = (PasswordHash(hash), State::Active);
        let account = Account { id: account_id, email, password, password_no: 0, state, create_time };
        Ok(NewImport { account, verify_time, job })
    }
}

/// CSV has no other form of an absent value than an empty one.
fn stated(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn time(text: &str, now: Timestamp) -> Result<Timestamp, Refused> {
    let parsed = prost_types::Timestamp::from_str(text);
    let time = parsed.map_err(|_| ("created", "must be a time of RFC 3339 such as 2024-05-31T08:00:00Z".to_owned()))?;
    let time = Timestamp::from(time);
    if time > now { Err(("created", "must not be in the future".to_owned())) } else { Ok(time) }
}
