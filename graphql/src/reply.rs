//! The response of an operation as JSON.

use async_graphql::{Response, ServerError, Value};
use serde_json::json;

use crate::{analysis::Refused, budget::Budget, layout::Layout};

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
        let error = json!({ "message": message, "extensions": { "code": code } });
        Self { json: json!({ "errors": [error] }).to_string().into_bytes(), is_refused: true }
    }

    /// Writes a response. `errors` are those of its fields.
    pub(crate) fn of(mut response: Response, errors: Vec<ServerError>, layout: &Layout, budget: &Budget) -> Self {
        if budget.is_exceeded() {
            return Self::too_large(budget);
        }
        // An error of a field has a path.
        let is_refused = response.data == Value::Null && response.errors.iter().any(|error| error.path.is_empty());
        if is_refused {
            response.errors.truncate(REFUSALS);
            for error in &mut response.errors {
                shorten(&mut error.message);
                let extensions = error.extensions.get_or_insert_default();
                if extensions.get("code").is_none() {
                    extensions.set("code", "GRAPHQL_VALIDATION_FAILED");
                }
            }
            return Self { json: json!({ "errors": response.errors }).to_string().into_bytes(), is_refused };
        }
        response.errors.extend(errors);
        layout.apply(&mut response.data);
        match serde_json::to_vec(&response) {
            // Fields of introspection have no resolver that counts them.
            Ok(json) if json.len() > budget.limit() => Self::too_large(budget),
            Ok(json) => Self { json, is_refused },
            Err(error) => Self { is_refused, ..Self::refused("INTERNAL", &error.to_string()) },
        }
    }

    fn too_large(budget: &Budget) -> Self {
        let limit = budget.limit();
        let message = format!("the response is larger than {limit} bytes (gateway.graphql.response_bytes)");
        let extensions = json!({ "code": "RESOURCE_EXHAUSTED", "reason": "RESPONSE_TOO_LARGE" });
        let json = json!({ "data": null, "errors": [{ "message": message, "extensions": extensions }] });
        Self { json: json.to_string().into_bytes(), is_refused: false }
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
