//! The commands that set ACCESS_TOKEN.

use gateway::{CatalogMethod, Config, config::TokenIssuerConfig};
use transcode::openapi::samples;

use super::{gateway_url::GatewayUrl, shell};

const SIGN_UP: &str = "/trellis.auth.v1.AuthService/SignUp";
const SIGN_IN: &str = "/trellis.auth.v1.AuthService/SignIn";
/// Prints the token of a response.
const PRINT_TOKEN: &str = r#"sed -n 's/.*"accessToken": *"\([^"]*\)".*/\1/p'"#;

/// The other issuers whose tokens the method's upstream accepts, by name.
pub(super) fn issuers<'a>(method: &CatalogMethod, config: &'a Config) -> Vec<(&'a str, &'a TokenIssuerConfig)> {
    let upstream = method.upstream.as_ref().and_then(|prefix| config.external.get(prefix));
    let names = upstream.map(|of| &of.token_issuers[..]).unwrap_or_default();
    names.iter().filter_map(|name| Some((name.as_str(), config.token_issuers.get(name)?))).collect()
}

/// Whether a reader of the explanation needs the commands: the user of the sample must exist to sign in. Users of other
/// issuers do not sign up here.
pub(super) fn is_shown(method: &CatalogMethod, needs_token: bool, issuers: &[(&str, &TokenIssuerConfig)]) -> bool {
    needs_token && issuers.is_empty() || method.path == SIGN_IN
}

/// Signs a sample user in, or up if there is no such account. Prints the responses if none has a token.
pub(super) fn command(methods: &[CatalogMethod], gateway: &GatewayUrl) -> Option<String> {
    let curl = |path: &str, wanted: &[&str]| {
        let input = methods.iter().find(|method| method.path == path)?.descriptor.input();
        let wanted: Vec<_> = wanted.iter().map(|field| (*field).to_owned()).collect();
        let request = samples::request(&input, &wanted).to_string();
        Some(shell::command(&[
            "curl -sS".to_owned(),
            shell::quoted(&(gateway.url() + path)),
            "-H 'content-type: application/json'".to_owned(),
            format!("-d {}", shell::quoted(&request)),
        ]))
    };
    let (sign_in, sign_up) = (curl(SIGN_IN, &[])?, curl(SIGN_UP, &["handle"])?);
    Some(format!(
        r#"SIGNED_IN=$({sign_in})
case $SIGNED_IN in *accessToken*) SIGNED_UP= ;; *) SIGNED_UP=$({sign_up}) ;; esac
export ACCESS_TOKEN=$(printf %s "$SIGNED_IN$SIGNED_UP" | {PRINT_TOKEN})
[ -n "$ACCESS_TOKEN" ] || printf '%s\n' "no access token; change the email, password and handle above, and try again" \
  "the response to the sign-in: $SIGNED_IN" "the response to the sign-up: $SIGNED_UP" >&2"#
    ))
}
