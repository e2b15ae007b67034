//! The reasons of the errors that the gateway makes: `ErrorInfo.reason`. Each failure has one reason, whatever the protocol
//! of the client. docs/protocols.md lists them for people. Those that services make too are constants of `kit::reason`.

/// the authorization service refuses the call
pub(crate) const AUTHORIZATION_DENIED: &str = "AUTHORIZATION_DENIED";
/// the body is not what its content type or encoding states, was cut off, or must be absent
pub(crate) const BODY_MALFORMED: &str = kit::reason::BODY_MALFORMED;
/// too many calls of the method are in progress; RetryInfo
pub(crate) const CALLS_IN_FLIGHT_LIMITED: &str = "CALLS_IN_FLIGHT_LIMITED";
/// the certificate of the connection has expired or is no longer trusted: connect again with a valid one
pub(crate) const CLIENT_CERTIFICATE_INVALID: &str = "CLIENT_CERTIFICATE_INVALID";
/// the method needs a [client certificate](gateway.md#client-certificates)
pub(crate) const CLIENT_CERTIFICATE_REQUIRED: &str = "CLIENT_CERTIFICATE_REQUIRED";
/// the content type is none of the method's
pub(crate) const CONTENT_TYPE_UNSUPPORTED: &str = "CONTENT_TYPE_UNSUPPORTED";
/// a page of this origin may not call
pub(crate) const CROSS_ORIGIN: &str = "CROSS_ORIGIN";
/// the compression of the body is not supported
pub(crate) const ENCODING_UNSUPPORTED: &str = "ENCODING_UNSUPPORTED";
/// the resource has changed since the client read it
pub(crate) const ETAG_MISMATCH: &str = kit::reason::ETAG_MISMATCH;
/// a text frame of a WebSocket has another form than those above
pub(crate) const FRAME_INVALID: &str = "FRAME_INVALID";
/// the method may have side effects, so that Connect's GET cannot call it
pub(crate) const GET_UNSUPPORTED: &str = "GET_UNSUPPORTED";
/// the handshake of a WebSocket is malformed
pub(crate) const HANDSHAKE_INVALID: &str = "HANDSHAKE_INVALID";
/// the headers, metadata or trailers are larger than `limits.header_bytes`
pub(crate) const HEADERS_TOO_LARGE: &str = "HEADERS_TOO_LARGE";
/// a header has a value that it must not have
pub(crate) const HEADER_INVALID: &str = "HEADER_INVALID";
/// the service states invalid [HTTP controls](#status-and-headers-of-http)
pub(crate) const HTTP_CONTROL_INVALID: &str = "HTTP_CONTROL_INVALID";
/// gRPC requires HTTP/2
pub(crate) const HTTP2_REQUIRED: &str = "HTTP2_REQUIRED";
/// the JSON of a message is malformed, or is not that of the method's message
pub(crate) const JSON_INVALID: &str = "JSON_INVALID";
/// the method has no descriptors, or its response has no JSON form within the limits
pub(crate) const JSON_UNAVAILABLE: &str = "JSON_UNAVAILABLE";
/// the method is in maintenance; RetryInfo
pub(crate) const MAINTENANCE: &str = "MAINTENANCE";
/// the upstream sent what its method or gRPC does not allow
pub(crate) const MESSAGE_MALFORMED: &str = "MESSAGE_MALFORMED";
/// a message of the request is larger than `limits.message_bytes`
pub(crate) const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// the configuration does not open the method of an external upstream
pub(crate) const METHOD_CLOSED: &str = "METHOD_CLOSED";
/// the protocol or form cannot carry the method's streams
pub(crate) const METHOD_IS_STREAM: &str = "METHOD_IS_STREAM";
/// the path has other methods of HTTP: `allow` lists them
pub(crate) const METHOD_NOT_ALLOWED: &str = "METHOD_NOT_ALLOWED";
/// the response has a type that `accept` excludes
pub(crate) const NOT_ACCEPTABLE: &str = "NOT_ACCEPTABLE";
/// the upstream's response is not gRPC
pub(crate) const NOT_GRPC: &str = "NOT_GRPC";
/// the path is longer than that of any method
pub(crate) const PATH_TOO_LONG: &str = "PATH_TOO_LONG";
/// too many calls; RetryInfo
pub(crate) const RATE_LIMITED: &str = kit::reason::RATE_LIMITED;
/// a variable of the path or a query parameter does not fit the request
pub(crate) const REQUEST_INVALID: &str = "REQUEST_INVALID";
/// the upstream broke the response off
pub(crate) const RESPONSE_CUT: &str = "RESPONSE_CUT";
/// a message of the response is larger than `limits.message_bytes`
pub(crate) const RESPONSE_TOO_LARGE: &str = "RESPONSE_TOO_LARGE";
/// the method, or forward authentication, requires a role that the account does not have
pub(crate) const ROLE_REQUIRED: &str = "ROLE_REQUIRED";
/// the access token does not have a scope that the method requires
pub(crate) const SCOPE_REQUIRED: &str = "SCOPE_REQUIRED";
/// the upstream's response ended without a status
pub(crate) const STATUS_MISSING: &str = "STATUS_MISSING";
/// the caller has too many open streams of the method
pub(crate) const STREAMS_LIMITED: &str = kit::reason::STREAMS_LIMITED;
/// `grpc-timeout` or `connect-timeout-ms` is malformed
pub(crate) const TIMEOUT_MALFORMED: &str = kit::reason::TIMEOUT_MALFORMED;
/// a client sends too many PINGs over a WebSocket
pub(crate) const TOO_MANY_PINGS: &str = "TOO_MANY_PINGS";
/// a service, or what the gateway needs, does not respond now; RetryInfo
pub(crate) const UNAVAILABLE: &str = kit::reason::UNAVAILABLE;
/// no method has this name
pub(crate) const UNKNOWN_METHOD: &str = kit::reason::UNKNOWN_METHOD;
/// no page or method has this path
pub(crate) const UNKNOWN_PATH: &str = "UNKNOWN_PATH";
/// forward authentication admits users only
pub(crate) const USER_REQUIRED: &str = "USER_REQUIRED";
/// `connect-protocol-version` is not 1
pub(crate) const VERSION_UNSUPPORTED: &str = "VERSION_UNSUPPORTED";

#[cfg(test)]
mod tests {
    #[test]
    fn reasons_are_documented() {
        let page = include_str!("../../docs/protocols.md");
        let (mut meaning, mut count) = ("", 0);
        for line in include_str!("reason.rs").lines() {
            if let Some(text) = line.strip_prefix("/// ") {
                meaning = text;
            }
            let Some(constant) = line.strip_prefix("pub(crate) const ") else { continue };
            let (name, value) = constant.split_once(": &str = ").unwrap();
            let is_shared = value == format!("kit::reason::{name};");
            assert!(is_shared || value == format!("\"{name}\";"), "{line}");
            let row = format!("| `{name}` | {meaning} |");
            assert!(page.lines().any(|line| line == row), "docs/protocols.md needs the row\n{row}");
            count += 1;
        }
        assert!(count > 30, "only {count} reasons are found");
    }
}
