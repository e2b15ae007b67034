//! The jobs of auth: what other services must apply after a change of an account, and the mails to send.

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

/// An account was imported; users does not have its profile yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountImported {
    /// The account.
    pub account_id: Uuid,
    /// The handle of the other service. `None`: users gets one that is unique.
    pub handle: Option<String>,
    /// The name that other users see. `None`: the handle.
    pub display_name: Option<String>,
}

impl Job for AccountImported {
    const KIND: &'static str = "account.imported";
}

/// A mail waits to be sent. The job has its id only: the address and the sealed token of its link are in its row, which
/// is deleted when the mail is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailQueued {
    /// The mail.
    pub mail_id: Uuid,
}

impl Job for MailQueued {
    const KIND: &'static str = "mail.queued";
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
        let stored = r#"{"account_id":"01900000-0000-7000-8000-000000000001","handle":"ada","display_name":null}"#;
        let imported = AccountImported { account_id: ID, handle: Some("ada".to_owned()), display_name: None };
        assert_eq!(serde_json::to_string(&imported).unwrap(), stored);
        assert_eq!(AccountImported::read(1, stored), Ok(imported));
        assert_eq!((AccountImported::KIND, AccountImported::VERSION), ("account.imported", 1));
        assert_eq!((AccountDeleted::KIND, AccountDeleted::VERSION), ("account.deleted", 1));
        let stored = r#"{"mail_id":"01900000-0000-7000-8000-000000000001"}"#;
        assert_eq!(serde_json::to_string(&MailQueued { mail_id: ID }).unwrap(), stored);
        assert_eq!((MailQueued::KIND, MailQueued::VERSION), ("mail.queued", 1));
        assert_eq!((AccountAbandoned::KIND, AccountAbandoned::VERSION), ("account.abandoned", 1));
    }
}
