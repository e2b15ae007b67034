//! The reasons (`ErrorInfo.reason`) that the services and the gateway share. Code that makes or compares one of them names
//! its constant. Each service has further reasons of its own, and the gateway lists its own in `gateway/src/reason.rs`.

/// The body of the request is not what its content type or encoding states.
pub const BODY_MALFORMED: &str = "BODY_MALFORMED";
/// The call took longer than its deadline.
pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
/// The resource has changed since the client read it.
pub const ETAG_MISMATCH: &str = "ETAG_MISMATCH";
/// An unexpected error: the log of the server has the details.
pub const INTERNAL: &str = "INTERNAL";
/// A change waited too long for others.
pub const LOCKED: &str = "LOCKED";
/// The process has no capacity for the call now.
pub const OVERLOADED: &str = "OVERLOADED";
/// Too many calls or attempts.
pub const RATE_LIMITED: &str = "RATE_LIMITED";
/// The process stops, and another one continues the stream.
pub const SERVER_STOPPING: &str = "SERVER_STOPPING";
/// The session of the access token was ended.
pub const SESSION_REVOKED: &str = "SESSION_REVOKED";
/// The method needs an access token.
pub const SIGN_IN_REQUIRED: &str = "SIGN_IN_REQUIRED";
/// The caller has too many open streams.
pub const STREAMS_LIMITED: &str = "STREAMS_LIMITED";
/// The timeout that the client states is malformed.
pub const TIMEOUT_MALFORMED: &str = "TIMEOUT_MALFORMED";
/// The access token has expired.
pub const TOKEN_EXPIRED: &str = "TOKEN_EXPIRED";
/// The credential of the call is not a valid access token.
pub const TOKEN_INVALID: &str = "TOKEN_INVALID";
/// A dependency of the process does not respond.
pub const UNAVAILABLE: &str = "UNAVAILABLE";
/// No method has this name.
pub const UNKNOWN_METHOD: &str = "UNKNOWN_METHOD";
