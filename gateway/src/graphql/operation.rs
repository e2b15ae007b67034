//! Reads the operation of a request.

use std::future::poll_fn;

use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::RequestRefusal;
use crate::{
    io::Inbound,
    protocol::{
        compression::{ACCEPTED, ContentEncoding},
        framing::Why,
        status::request_refused,
    },
};

/// The maximum number of values in `variables`, with those within lists and objects. Each root field that uses a variable
/// converts it, before the limits of its method apply.
const MOST_VALUES: usize = 10_000;

/// What a request states.
#[derive(Debug)]
pub(super) struct Sent {
    /// The document; `None`: the client sends its id.
    pub(super) query: Option<String>,
    /// The id of the document: its hash, or that of the operator's file.
    pub(super) id: Option<String>,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Map<String, Value>,
}

/// Refuses another content type than JSON. Browsers send some types for pages of any origin without asking, but not
/// JSON: so no page of another origin can make a call with the user's cookie.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), RequestRefusal> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|parameter| {
        let charset = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
        charset.is_none_or(|(_, value)| value.trim_matches('"').eq_ignore_ascii_case("utf-8"))
    });
    if is_json && is_utf8 {
        return Ok(());
    }
    let message = "the content-type must be application/json";
    Err(RequestRefusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message))
}

/// How the body is compressed.
pub(super) fn encoding(headers: &HeaderMap) -> Result<ContentEncoding, RequestRefusal> {
    ContentEncoding::parse(headers.get(CONTENT_ENCODING)).map_err(|status| {
        RequestRefusal::of(&status).with(StatusCode::UNSUPPORTED_MEDIA_TYPE, ACCEPT_ENCODING, ACCEPTED)
    })
}

/// Reads a body of at most `limit` bytes, compressed and decompressed.
pub(super) async fn read(body: Inbound, encoding: ContentEncoding, limit: usize) -> Result<Vec<u8>, RequestRefusal> {
    let bytes = read_encoded(body, limit).await?;
    if encoding == ContentEncoding::Identity {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    encoding.decompress(&bytes, limit, &mut plain).map_err(|status| RequestRefusal::of(&status))?;
    Ok(plain)
}

async fn read_encoded(mut body: Inbound, limit: usize) -> Result<Vec<u8>, RequestRefusal> {
    let mut bytes = Vec::new();
    while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
        let piece = piece.map_err(|_| invalid("the body is cut off"))?;
        if bytes.len() + piece.len() > limit {
            return Err(RequestRefusal::of(&request_refused(Why::TooLarge)));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The operation of a body.
pub(super) fn of_body(body: &[u8]) -> Result<Sent, RequestRefusal> {
    let json = serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    match json {
        Value::Object(members) => of_members(members),
        Value::Array(_) => Err(invalid("batches of operations are not supported; send one operation")),
        _ => Err(invalid("the body is not a JSON object")),
    }
}

/// The operation of a query string.
pub(super) fn of_query(query: &str) -> Result<Sent, RequestRefusal> {
    let mut members = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        let value = match name {
            "query" | "operationName" | "documentId" => Value::String(value),
            "variables" | "extensions" => serde_json::from_str(&value)
                .map_err(|error| invalid(format!("the parameter {name} is not JSON: {error}")))?,
            _ => continue,
        };
        if members.insert(name.to_owned(), value).is_some() {
            return Err(invalid(format!("the parameter {name} occurs twice")));
        }
    }
    of_members(members)
}

fn decoded(value: &str) -> Result<String, RequestRefusal> {
    let value = value.replace('+', " ");
    let decoded = percent_decode_str(&value).decode_utf8().map_err(|_| invalid("a parameter is not UTF-8"))?;
    Ok(decoded.into_owned())
}

/// The operation that the members of a JSON object state.
pub(super) fn of_members(mut members: Map<String, Value>) -> Result<Sent, RequestRefusal> {
    let variables = match members.remove("variables") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(variables)) if variables.values().map(values).sum::<usize>() > MOST_VALUES => {
            return Err(invalid(format!("`variables` has more than {MOST_VALUES} values")));
        }
        Some(Value::Object(variables)) => variables,
        Some(_) => return Err(invalid("`variables` is not an object")),
    };
    let hash = match members.remove("extensions") {
        None | Some(Value::Null) => None,
        Some(Value::Object(extensions)) => extensions.get("persistedQuery").map(hash).transpose()?,
        Some(_) => return Err(invalid("`extensions` is not an object")),
    };
    let (query, document_id) = (text(&mut members, "query")?, text(&mut members, "documentId")?);
    let id = hash.or(document_id);
    if query.is_none() && id.is_none() {
        return Err(invalid("the request has no `query`"));
    }
    let operation_name = text(&mut members, "operationName")?.filter(|name| !name.is_empty());
    Ok(Sent { query, id, operation_name, variables })
}

/// How many values a variable has.
fn values(variable: &Value) -> usize {
    1 + match variable {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum(),
        _ => 0,
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, RequestRefusal> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("`{name}` is not a string"))),
    }
}

/// The hash of an automatic persisted query.
fn hash(extension: &Value) -> Result<String, RequestRefusal> {
    let version = extension.get("version").and_then(Value::as_u64);
    let hash = extension.get("sha256Hash").and_then(Value::as_str).filter(|_| version == Some(1));
    let hash = hash.map(str::to_ascii_lowercase);
    hash.ok_or_else(|| invalid("`persistedQuery` needs the version 1 and a sha256Hash"))
}

fn invalid(message: impl Into<String>) -> RequestRefusal {
    RequestRefusal::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_json_is_a_content_type() {
        for (content_type, is_valid) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/graphql", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            assert_eq!(check_type(&headers).is_ok(), is_valid, "{content_type}");
        }
        assert!(check_type(&HeaderMap::new()).is_err());
    }

    #[test]
    fn operation_is_read_from_body_and_url() {
        let body = br#"{"query": "{a}", "operationName": "A", "variables": {"b": 1}, "extensions": {}}"#;
        for request in [of_body(body), of_query("query=%7Ba%7D&operationName=A&variables=%7B%22b%22:+1%7D&other=1")] {
            let request = request.unwrap_or_else(|refusal| panic!("{}", refusal.message));
            assert_eq!((request.query.as_deref(), request.operation_name.as_deref()), (Some("{a}"), Some("A")));
            assert_eq!(request.variables["b"], 1);
        }
    }

    #[test]
    fn document_may_have_an_id() {
        let apollo = br#"{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "AB12"}}}"#;
        let id = |sent: Result<Sent, RequestRefusal>| sent.ok().and_then(|sent| sent.id);
        assert_eq!(id(of_body(apollo)).as_deref(), Some("ab12"));
        assert_eq!(id(of_query("documentId=X1")).as_deref(), Some("X1"));
        assert!(of_body(br#"{"extensions": {"persistedQuery": {"version": 2, "sha256Hash": "a"}}}"#).is_err());
        assert!(of_body(br#"{"extensions": {"persistedQuery": 1}}"#).is_err());
    }

    #[tokio::test]
    async fn compressed_body_is_read_within_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[b'a'; 1_000]).unwrap();
        let body = encoder.finish().unwrap();
        let read = async |limit| {
            read(
                Inbound::whole(body.clone().into()),
                ContentEncoding::Coded(crate::http::content_coding::ContentCoding::Gzip),
                limit,
            )
            .await
        };
        assert_eq!(read(1_000).await.unwrap(), [b'a'; 1_000]);
        assert_eq!(read(999).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn malformed_requests_are_refused() {
        for body in [
            "",
            "[]",
            "1",
            "{}",
            "{\"query\": 1}",
            "{\"query\": \"{a}\", \"variables\": []}",
            &format!("{{\"query\": \"{{a}}\", \"variables\": {{\"b\": [{}0]}}}}", "0,".repeat(MOST_VALUES)),
            "{\"query\"",
            "\u{feff}{}",
        ] {
            assert_eq!(
                of_body(body.as_bytes()).err().map(|refusal| refusal.status),
                Some(StatusCode::BAD_REQUEST),
                "{body}"
            );
        }
        for query in ["", "query=%ff", "query=a&query=b", "query=a&variables=%7B", "query=a&extensions=1"] {
            assert!(of_query(query).is_err(), "{query}");
        }
    }
}
