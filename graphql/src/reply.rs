//! The response of an operation as JSON.

use async_graphql::ServerError;
use serde_json::json;

use crate::{budget::Exceeded, refused::Refused, stop::Stop};

/// The maximum number of errors in the refusal of an operation. Validation finds one in each argument.
const REFUSALS: usize = 20;
/// The maximum length of such an error, in bytes: it repeats names of the operation.
const REFUSAL_BYTES: usize = 1_000;

/// The response of an operation, or one response of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The JSON text, in one line.
    pub json: Vec<u8>,
    /// The operation was refused and not executed.
    pub is_refused: bool,
}

impl Reply {
    /// Refuses an operation. `code` is the `code` of the error's extensions.
    #[must_use]
    pub fn refused(code: &str, message: &str) -> Self {
        let mut message = message.to_owned();
        shorten(&mut message);
        let error = json!({ "message": message, "extensions": { "code": code } });
        Self { json: json!({ "errors": [error] }).to_string().into_bytes(), is_refused: true }
    }

    /// Refuses an operation that does not fit the schema.
    pub(crate) fn invalid(mut errors: Vec<ServerError>) -> Self {
        errors.truncate(REFUSALS);
        for error in &mut errors {
            shorten(&mut error.message);
            error.path.clear();
            error.extensions.get_or_insert_default().set("code", "GRAPHQL_VALIDATION_FAILED");
        }
        Self { json: json!({ "errors": errors }).to_string().into_bytes(), is_refused: true }
    }

    /// The response to an operation that was stopped.
    pub(crate) fn stopped(stop: Stop) -> Self {
        match stop {
            Stop::TooLarge(exceeded) => {
                let extensions = json!({ "code": "RESOURCE_EXHAUSTED", "reason": Exceeded::REASON });
                Self::failed(json!({ "message": exceeded.message(), "extensions": extensions }))
            }
            Stop::Malformed => Self::internal(),
        }
    }

    /// The response to an operation that has failed in this process.
    pub(crate) fn internal() -> Self {
        Self::failed(json!({ "message": "the operation has failed", "extensions": { "code": "INTERNAL" } }))
    }

    #[expect(clippy::needless_pass_by_value, reason = "the error is made for it")]
    fn failed(error: serde_json::Value) -> Self {
        Self { json: json!({ "data": null, "errors": [error] }).to_string().into_bytes(), is_refused: false }
    }

    /// Whether the response has data, and not only an error.
    pub(crate) fn is_complete(&self) -> bool {
        self.json.starts_with(b"{\"data\":{")
    }
}

fn shorten(text: &mut String) {
    if text.len() > REFUSAL_BYTES {
        text.truncate(text.floor_char_boundary(REFUSAL_BYTES));
        text.push('…');
    }
}

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        Self::refused(refused.code, &refused.message)
    }
}
