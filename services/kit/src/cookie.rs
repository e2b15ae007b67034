//! The names of session cookies: auth sets them, and the gateway passes on no others.

/// What the name of every session cookie begins with; the id of the instance follows.
pub const NAME_PREFIX: &str = "trellis_session_";
/// What stands before that of an https origin (RFC 6265bis, section 4.1.3.2).
pub const HOST_PREFIX: &str = "__Host-";

/// Whether a cookie of this name is the session cookie of an instance.
pub fn is_session(name: &[u8]) -> bool {
    name.strip_prefix(HOST_PREFIX.as_bytes()).unwrap_or(name).starts_with(NAME_PREFIX.as_bytes())
}
