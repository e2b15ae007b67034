//! Header fields that a request may contain only once.
//!
//! A second value is an error. If it were ignored, two programs on the path of a request could use different values: a
//! proxy the last one and this process the first one.

use http::{
    HeaderMap, HeaderName,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN},
};
use tonic::{Code, Status};

use crate::{
    error,
    identity::{CLIENT_ADDRESS, CLIENT_SCHEME, SERVICE_TOKEN},
};

/// The fields. `cookie` may be repeated (RFC 9113, section 8.2.3); two values of one session cookie are refused where the
/// cookie is read. With two `traceparent` fields a new trace begins, as the W3C's recommendation requires.
const SINGLE: [HeaderName; 12] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    ORIGIN,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("grpc-encoding"),
    CONTENT_ENCODING,
    HeaderName::from_static("connect-protocol-version"),
    HeaderName::from_static("connect-timeout-ms"),
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static(SERVICE_TOKEN),
    HeaderName::from_static(CLIENT_ADDRESS),
    HeaderName::from_static(CLIENT_SCHEME),
];

/// Refuses a request that repeats one of the fields, or the field `also`.
pub fn check(headers: &HeaderMap, also: Option<&str>) -> Result<(), Status> {
    // Nearly all requests repeat no field at all.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let is_repeated = |name: &&str| headers.get_all(*name).iter().nth(1).is_some();
    match SINGLE.iter().map(HeaderName::as_str).chain(also).find(is_repeated) {
        Some(name) => {
            let message = format!("the header {name} occurs more than once; send one value");
            Err(error::status(Code::InvalidArgument, "HEADER_REPEATED", message))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in of {
            headers.append(*name, "1".parse().unwrap());
        }
        headers
    }

    #[test]
    fn repeated_header_is_refused_by_name() {
        for name in SINGLE.iter().map(HeaderName::as_str).chain(["x-api-key"]) {
            assert!(check(&headers(&[]), Some("x-api-key")).is_ok());
            let mut map = headers(&["cookie", "cookie", "accept", "accept", "traceparent", "traceparent"]);
            map.append(HeaderName::try_from(name).unwrap(), "1".parse().unwrap());
            assert!(check(&map, Some("x-api-key")).is_ok(), "{name}");
            map.append(HeaderName::try_from(name).unwrap(), "1".parse().unwrap());
            let refused = check(&map, Some("x-api-key")).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains(&format!(" {name} ")), "{}", refused.message());
        }
    }
}
