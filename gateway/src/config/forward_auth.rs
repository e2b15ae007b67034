//! The section `[gateway.forward_auth]`.

use serde::{Deserialize, Serialize};

/// The name under which the requests are counted, and which overrides of rate limits use.
pub(crate) const FORWARD_AUTH: &str = "forward_auth";

/// A path at which proxies ask whether a request has a valid access token: `auth_request` of nginx, ForwardAuth of
/// Traefik, `forward_auth` of Caddy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardAuthConfig {
    /// The path, such as `/forward-auth`. Empty: off.
    pub path: String,
    /// The roles of which a user needs one. Empty: every signed-in user is allowed.
    pub roles: Vec<String>,
}
