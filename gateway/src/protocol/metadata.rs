//! The trailers of a response as JSON, for protocols whose last entry holds them.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::http::reserved::STATUS;

/// The metadata as an object of names with lists of values. The status is not a part of it. `None`: there is none.
pub(super) fn object(trailers: &HeaderMap) -> Option<Value> {
    object_without(trailers, &[])
}

/// The metadata without those names.
pub(super) fn object_without(metadata: &HeaderMap, without: &[HeaderName]) -> Option<Value> {
    let kept = metadata.iter().filter(|(name, _)| !STATUS.contains(name) && !without.contains(name));
    let mut metadata = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in kept {
        // Values outside of ASCII are not allowed in gRPC; they must not make the JSON invalid.
        metadata.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    (!metadata.is_empty()).then(|| Value::from_iter(metadata))
}
