//! The commands that set ACCESS_TOKEN.

use gateway::CatalogMethod;
use transcode::openapi::samples;

use super::{gateway_url::GatewayUrl, shell};

const SIGN_UP: &str = "/trellis.auth.v1.AuthService/SignUp";
const SIGN_IN: &str = "/trellis.auth.v1.AuthService/SignIn";
/// Prints the token of a response.
const PRINT_TOKEN: &str = r#"sed -n 's/.*"accessToken": *"\([^"]*\)".*/\1/p'"#;

/// Whether a reader of the explanation needs the commands: the user of the sample must exist to sign in.
pub(super) fn is_shown(method: &CatalogMethod, needs_token: bool) -> bool {
    needs_token || method.path == SIGN_IN
}

/// Signs a sample user up, or in if the account exists.
pub(super) fn command(methods: &[CatalogMethod], gateway: &GatewayUrl) -> Option<String> {
    let token = |path: &str, wanted: &[&str]| {
        let input = methods.iter().find(|method| method.path == path)?.descriptor.input();
        let wanted: Vec<_> = wanted.iter().map(|field| (*field).to_owned()).collect();
        let request = samples::request(&input, &wanted).to_string();
        let curl = shell::command(&[
            "curl -sS".to_owned(),
            shell::quoted(&(gateway.url() + path)),
            "-H 'content-type: application/json'".to_owned(),
            format!("-d {}", shell::quoted(&request)),
        ]);
        Some(format!("ACCESS_TOKEN=$({curl} | {PRINT_TOKEN})"))
    };
    let (sign_up, sign_in) = (token(SIGN_UP, &["handle"])?, token(SIGN_IN, &[])?);
    Some(format!("{sign_up}\n[ -n \"$ACCESS_TOKEN\" ] || {sign_in}\nexport ACCESS_TOKEN"))
}
