//! The session cookie, which carries the refresh token of browsers.
//!
//! Its name contains the id of this instance, which is stored in the database, so that two instances on one host do not
//! overwrite each other's cookie: cookies do not distinguish ports. For an https origin it has the prefix `__Host-`:
//! then no other host of the site, no page over http and no other path can set a cookie of the same name, and a browser
//! never sends two. For plain http, which is for localhost, the prefix would require the path `/`, and so send the
//! token to the programs on all other ports (Chromium accepts the prefix there, other browsers do not). There the
//! cookie has another name, which is never read from a request of an https origin.
//!
//! For plain http the cookie is set once for each path of [`PLAIN_PATHS`]: the service in gRPC, Connect and gRPC-Web, and
//! the HTTP forms of the methods that read the cookie. One path for all of them would be `/v1/` or `/`, because a cookie
//! of `/v1/auth` is not sent to `/v1/auth:refresh`, and many programs on other ports have paths under `/v1/`.

use std::time::Duration;

use kit::{
    ClockAndRng, Context,
    cookie::{HOST_PREFIX, NAME_PREFIX},
    identity::CLIENT_SCHEME,
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataMap, MetadataValue},
};

use crate::domain::RefreshToken;

/// Sent over TLS or to localhost only, hidden from scripts, and not sent with requests from other sites.
const ATTRIBUTES: &str = "HttpOnly; Secure; SameSite=Strict";
/// Required by the prefix. The gateway forwards the cookie only to methods that read it.
const HOST_PATH: &str = "/";
/// Not `/`: programs on other ports of localhost would receive the cookie.
const PLAIN_PATHS: [&str; 3] = ["/trellis.auth.v1.AuthService/", "/v1/auth:refresh", "/v1/auth:signOut"];
/// Paths of possible duplicates: a cookie is removed only by its own path.
const OTHER_PATHS: [&str; 4] = [
    "/",
    "/trellis.auth.v1.AuthService",
    "/trellis.auth.v1.AuthService/RefreshToken",
    "/trellis.auth.v1.AuthService/SignOut",
];

/// The scheme of the client's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Also the default if the scheme is unknown: programs send no origin.
    Https,
    Http,
}

impl Scheme {
    /// The scheme that the gateway states.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let is_from_service = Context::of(request).caller.peer.is_some();
        let http = request.metadata().get(CLIENT_SCHEME).is_some_and(|scheme| scheme == "http");
        if is_from_service && http { Self::Http } else { Self::Https }
    }
}

/// The cookies of this instance.
pub(crate) struct Cookies {
    host: String,
    plain: String,
}

/// A new id for an instance.
pub(crate) fn new_instance(clock_rng: &ClockAndRng) -> String {
    format!("{:016x}", u64::from_be_bytes(clock_rng.random()))
}

impl Cookies {
    /// The cookies of the instance with this id.
    pub(crate) fn new(instance: &str) -> Self {
        let plain = format!("{NAME_PREFIX}{instance}");
        Self { host: format!("{HOST_PREFIX}{plain}"), plain }
    }

    fn name(&self, scheme: Scheme) -> &str {
        match scheme {
            Scheme::Https => &self.host,
            Scheme::Http => &self.plain,
        }
    }

    /// The tokens of all cookies in the request that have this name.
    pub(crate) fn read(&self, metadata: &MetadataMap, scheme: Scheme) -> Vec<RefreshToken> {
        let cookies = metadata.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let ours = pairs.filter(|(name, value)| *name == self.name(scheme) && !value.is_empty());
        ours.map(|(_, value)| RefreshToken::from(value.to_owned())).collect()
    }

    /// Sets the cookie with the token, for the token's lifetime.
    pub(crate) fn set(&self, metadata: &mut MetadataMap, scheme: Scheme, token: &RefreshToken, lifetime: Duration) {
        let (name, seconds) = (self.name(scheme), lifetime.as_secs());
        for path in paths(scheme) {
            append(metadata, &format!("{name}={}; {ATTRIBUTES}; Path={path}; Max-Age={seconds}", token.expose()));
        }
    }

    /// Removes the cookie, and duplicates of it on other paths.
    pub(crate) fn clear(&self, metadata: &mut MetadataMap, scheme: Scheme) {
        let others = match scheme {
            Scheme::Https => &[][..],
            Scheme::Http => &OTHER_PATHS,
        };
        for path in others.iter().chain(paths(scheme)) {
            append(metadata, &format!("{}=; {ATTRIBUTES}; Path={path}; Max-Age=0", self.name(scheme)));
        }
    }
}

fn paths(scheme: Scheme) -> &'static [&'static str] {
    match scheme {
        Scheme::Https => &[HOST_PATH],
        Scheme::Http => &PLAIN_PATHS,
    }
}

fn append(metadata: &mut MetadataMap, text: &str) {
    // Tokens are base64url and the rest is constant, so the text is a valid header value.
    let Ok(mut value) = MetadataValue::<Ascii>::try_from(text) else { return };
    value.set_sensitive(true);
    metadata.append("set-cookie", value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_found_among_other_cookies() {
        let cookies = Cookies::new("a1");
        let mut metadata = MetadataMap::new();
        let read = |metadata: &MetadataMap, scheme| -> Vec<_> {
            cookies.read(metadata, scheme).into_iter().map(|token| token.expose().to_owned()).collect()
        };
        assert!(read(&metadata, Scheme::Https).is_empty());
        metadata.append("cookie", "a=b; x__Host-trellis_session_a1=no; __Host-trellis_session_b2=no".parse().unwrap());
        metadata.append("cookie", "theme=dark;__Host-trellis_session_a1=trr_x ; c=d".parse().unwrap());
        metadata.append("cookie", "trellis_session_a1=trr_planted".parse().unwrap());
        assert_eq!(read(&metadata, Scheme::Https), ["trr_x"]);
        assert_eq!(read(&metadata, Scheme::Http), ["trr_planted"]);
        metadata.append("cookie", "__Host-trellis_session_a1=trr_y".parse().unwrap());
        assert_eq!(read(&metadata, Scheme::Https), ["trr_x", "trr_y"]);
    }

    /// RFC 6265, section 5.1.4.
    fn is_sent_to(cookie_path: &str, path: &str) -> bool {
        path.strip_prefix(cookie_path)
            .is_some_and(|rest| rest.is_empty() || cookie_path.ends_with('/') || rest.starts_with('/'))
    }

    #[test]
    fn plain_cookie_reaches_each_form_of_its_methods() {
        let table = kit::policy::Table::from_descriptors(proto::DESCRIPTORS).unwrap();
        let http = table.pool().get_extension_by_name("google.api.http").unwrap();
        let mut forms = Vec::new();
        for (path, method) in table.descriptors() {
            if table.get(&path).is_some_and(|policy| policy.reads_session_cookie) {
                let options = method.options();
                let rule = options.get_extension(&http);
                let form = rule.as_message().unwrap().get_field_by_name("post").unwrap().as_str().unwrap().to_owned();
                for path in [path, form.clone()] {
                    let sent = PLAIN_PATHS.iter().filter(|cookie_path| is_sent_to(cookie_path, &path)).count();
                    assert_eq!(sent, 1, "{path}: two cookies of one name would be refused");
                }
                forms.push(form);
            }
        }
        forms.sort();
        assert_eq!(forms, PLAIN_PATHS[1..], "no other path receives the cookie");
    }

    #[test]
    fn host_prefix_has_the_attributes_that_browsers_require() {
        let mut metadata = MetadataMap::new();
        let token = RefreshToken::from("trr_x".to_owned());
        Cookies::new("a1").set(&mut metadata, Scheme::Https, &token, Duration::from_secs(5));
        let text = metadata.get("set-cookie").unwrap().to_str().unwrap();
        assert_eq!(text, "__Host-trellis_session_a1=trr_x; HttpOnly; Secure; SameSite=Strict; Path=/; Max-Age=5");
    }
}
