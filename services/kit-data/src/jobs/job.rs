//! The type of a kind of jobs, and how it is stored.

use kit::{Timestamp, shutdown::Shutdown};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// The arguments of a kind of jobs. They are stored as JSON: the fields are a format that later releases must read.
/// Secrets and personal data do not belong into them.
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The name of the kind: `account.deleted`. It never changes.
    const KIND: &'static str;

    /// The version of the fields. Raise it with each change that an earlier release cannot read.
    const VERSION: i32 = 1;

    /// Reads a stored job of `version`, which is at most [`VERSION`](Self::VERSION). A type with several versions
    /// converts the earlier ones.
    fn read(version: i32, payload: &str) -> Result<Self, Unreadable> {
        if version != Self::VERSION {
            return Err(Unreadable(format!("there is no conversion from version {version} to {}", Self::VERSION)));
        }
        serde_json::from_str(payload).map_err(|error| Unreadable(error.to_string()))
    }
}

/// Why a stored job cannot be read. It becomes a dead letter at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored job cannot be read: {0}")]
pub struct Unreadable(pub String);

/// One attempt at a job, for its handler.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The id of the job, the same in each attempt: the key of an idempotent call.
    pub job_id: Uuid,
    /// When the job was enqueued.
    pub create_time: Timestamp,
    /// The number of the attempt, from 1.
    pub number: i64,
    pub(super) shutdown: Shutdown,
}

impl Attempt {
    /// Whether the process stops. A handler of a long job then saves its progress and returns
    /// [`Outcome::Continue`](super::Outcome::Continue), so that another process goes on at once.
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_stopping()
    }
}
