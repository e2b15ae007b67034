//! The trailers of a response as JSON, for protocols whose last entry holds them.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde_json::Value;

use crate::http::reserved::STATUS;

/// The metadata as an object of names with lists of values. The status is not a part of it. `None`: there is none.
pub(super) fn object(trailers: &HeaderMap) -> Option<Value> {
    let mut metadata = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in trailers.iter().filter(|(name, _)| !STATUS.contains(name)) {
        // Values outside of ASCII are not allowed in gRPC; they must not make the JSON invalid.
        metadata.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    (!metadata.is_empty()).then(|| Value::from_iter(metadata))
}
