//! The jobs of auth: what other services must apply after a change of an account.

use kit_data::jobs::Job;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A sign-up was abandoned; users may have its profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAbandoned {
    /// The account.
    pub account_id: Uuid,
}

impl Job for AccountAbandoned {
    const KIND: &'static str = "account.abandoned";
}

/// An account was deleted; users has its profile, messaging its memberships.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountDeleted {
    /// The account.
    pub account_id: Uuid,
}

impl Job for AccountDeleted {
    const KIND: &'static str = "account.deleted";
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

    /// Stored by earlier releases, or in the database now.
    #[test]
    fn stored_jobs_have_golden_bytes() {
        let stored = r#"{"account_id":"01900000-0000-7000-8000-000000000001"}"#;
        assert_eq!(serde_json::to_string(&AccountDeleted { account_id: ID }).unwrap(), stored);
        assert_eq!(serde_json::to_string(&AccountAbandoned { account_id: ID }).unwrap(), stored);
        // The second form comes from the migration of the outbox on SQLite.
        for stored in [stored, r#"{"account_id":"01900000000070008000000000000001"}"#] {
            assert_eq!(AccountDeleted::read(1, stored), Ok(AccountDeleted { account_id: ID }));
            assert_eq!(AccountAbandoned::read(1, stored), Ok(AccountAbandoned { account_id: ID }));
        }
        assert_eq!((AccountDeleted::KIND, AccountDeleted::VERSION), ("account.deleted", 1));
        assert_eq!((AccountAbandoned::KIND, AccountAbandoned::VERSION), ("account.abandoned", 1));
    }
}
