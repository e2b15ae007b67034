//! The reasons of the errors that the gateway makes: `ErrorInfo.reason`. Each failure has one reason, whatever the protocol
//! of the client. docs/protocols.md lists them for people.

macro_rules! reasons {
    ($(#[doc = $doc:literal] $name:ident,)+) => {
        $(#[doc = $doc] pub(crate) const $name: &str = stringify!($name);)+

        /// Each reason, and when it occurs.
        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$(($name, $doc)),+];
    };
}

reasons! {
    #[doc = "the authorization service refuses the call"]
    AUTHORIZATION_DENIED,
    #[doc = "the body is not what its content type or encoding states, was cut off, or must be absent"]
    BODY_MALFORMED,
    #[doc = "too many calls of the method are in progress; RetryInfo"]
    CALLS_IN_FLIGHT_LIMITED,
    #[doc = "the content type is none of the method's"]
    CONTENT_TYPE_UNSUPPORTED,
    #[doc = "a page of this origin may not call"]
    CROSS_ORIGIN,
    #[doc = "the compression of the body is not supported"]
    ENCODING_UNSUPPORTED,
    #[doc = "the resource has changed since the client read it"]
    ETAG_MISMATCH,
    #[doc = "a text frame of a WebSocket has another form than those above"]
    FRAME_INVALID,
    #[doc = "the method may have side effects, so that Connect's GET cannot call it"]
    GET_UNSUPPORTED,
    #[doc = "the handshake of a WebSocket is malformed"]
    HANDSHAKE_INVALID,
    #[doc = "the headers, metadata or trailers are larger than `limits.header_bytes`"]
    HEADERS_TOO_LARGE,
    #[doc = "a header has a value that it must not have"]
    HEADER_INVALID,
    #[doc = "the service states invalid [HTTP controls](#status-and-headers-of-http)"]
    HTTP_CONTROL_INVALID,
    #[doc = "the JSON of a message is malformed, or is not that of the method's message"]
    JSON_INVALID,
    #[doc = "the method has no descriptors, or its response has no JSON form within the limits"]
    JSON_UNAVAILABLE,
    #[doc = "the method is in maintenance; RetryInfo"]
    MAINTENANCE,
    #[doc = "the upstream sent what its method or gRPC does not allow"]
    MESSAGE_MALFORMED,
    #[doc = "a message of the request is larger than `limits.message_bytes`"]
    MESSAGE_TOO_LARGE,
    #[doc = "the configuration does not open the method of an external upstream"]
    METHOD_CLOSED,
    #[doc = "the protocol or form cannot carry the method's streams"]
    METHOD_IS_STREAM,
    #[doc = "the path has other methods of HTTP: `allow` lists them"]
    METHOD_NOT_ALLOWED,
    #[doc = "the response has a type that `accept` excludes"]
    NOT_ACCEPTABLE,
    #[doc = "the upstream's response is not gRPC"]
    NOT_GRPC,
    #[doc = "the path is longer than that of any method"]
    PATH_TOO_LONG,
    #[doc = "too many calls; RetryInfo"]
    RATE_LIMITED,
    #[doc = "a variable of the path or a query parameter does not fit the request"]
    REQUEST_INVALID,
    #[doc = "the upstream broke the response off"]
    RESPONSE_CUT,
    #[doc = "a message of the response is larger than `limits.message_bytes`"]
    RESPONSE_TOO_LARGE,
    #[doc = "forward authentication requires a role that the account does not have"]
    ROLE_REQUIRED,
    #[doc = "the upstream's response ended without a status"]
    STATUS_MISSING,
    #[doc = "the caller has too many open streams of the method"]
    STREAMS_LIMITED,
    #[doc = "`grpc-timeout` or `connect-timeout-ms` is malformed"]
    TIMEOUT_MALFORMED,
    #[doc = "a client sends too many PINGs over a WebSocket"]
    TOO_MANY_PINGS,
    #[doc = "a service, or what the gateway needs, does not respond now; RetryInfo"]
    UNAVAILABLE,
    #[doc = "no method has this name"]
    UNKNOWN_METHOD,
    #[doc = "no page or method has this path"]
    UNKNOWN_PATH,
    #[doc = "forward authentication admits users only"]
    USER_REQUIRED,
    #[doc = "`connect-protocol-version` is not 1"]
    VERSION_UNSUPPORTED,
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn reasons_are_documented() {
        let page = include_str!("../../docs/protocols.md");
        for (name, meaning) in ALL {
            let row = format!("| `{name}` | {meaning} |");
            assert!(page.lines().any(|line| line == row), "docs/protocols.md needs the row\n{row}");
        }
    }
}
