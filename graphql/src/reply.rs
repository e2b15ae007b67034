//! The response of an operation as JSON.

use async_graphql::{Response, Value};
use serde_json::json;

use crate::{analysis::Refused, budget::Budget};

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

    /// `order` holds the names of the root fields in the order of the operation.
    pub(crate) fn of(mut response: Response, order: &[String], budget: &Budget) -> Self {
        if budget.is_exceeded() {
            let limit = budget.limit();
            let message = format!("the response is larger than {limit} bytes (gateway.graphql.response_bytes)");
            let extensions = json!({ "code": "RESOURCE_EXHAUSTED", "reason": "RESPONSE_TOO_LARGE" });
            let json = json!({ "data": null, "errors": [{ "message": message, "extensions": extensions }] });
            return Self { json: json.to_string().into_bytes(), is_refused: false };
        }
        // An error of a field has a path.
        let is_refused = response.data == Value::Null && response.errors.iter().any(|error| error.path.is_empty());
        if is_refused {
            for error in &mut response.errors {
                let extensions = error.extensions.get_or_insert_default();
                if extensions.get("code").is_none() {
                    extensions.set("code", "GRAPHQL_VALIDATION_FAILED");
                }
            }
            return Self { json: json!({ "errors": response.errors }).to_string().into_bytes(), is_refused };
        }
        if let Value::Object(data) = &mut response.data {
            // Calls end in any order.
            let position = |name: &str| order.iter().position(|key| key == name);
            data.sort_by(|one, _, other, _| position(one).cmp(&position(other)));
        }
        match serde_json::to_vec(&response) {
            Ok(json) => Self { json, is_refused },
            Err(error) => Self { is_refused, ..Self::refused("INTERNAL", &error.to_string()) },
        }
    }
}

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        Self::refused(refused.code, &refused.message)
    }
}
