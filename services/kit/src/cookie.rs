//! The names of session cookies. auth sets them, and the gateway passes on no other cookies.

/// The prefix of all session cookies; the id of the instance follows.
pub const NAME_PREFIX: &str = "trellis_session_";
/// The additional prefix for https origins (RFC 6265bis, section 4.1.3.2).
pub const HOST_PREFIX: &str = "__Host-";

/// Whether a cookie of this name is the session cookie of an instance.
pub fn is_session(name: &[u8]) -> bool {
    name.strip_prefix(HOST_PREFIX.as_bytes()).unwrap_or(name).starts_with(NAME_PREFIX.as_bytes())
}
