//! What a browser meets that shows a page of an origin.

use gateway::{Config, PageOrigin};
use kit::origin::WebOrigin;
use serde::Serialize;

use super::gateway_url::{GatewayUrl, is_local};

/// The verdict on an origin.
#[derive(Debug, Serialize)]
pub(super) struct Browser {
    pub(super) origin: String,
    /// Whether pages of the origin can call the method.
    pub(super) can_call: bool,
    /// Why, and what to change.
    pub(super) cors: String,
    /// Which cookies the browser sends.
    pub(super) cookies: String,
    /// What TLS, or its absence, means for the call.
    pub(super) tls: Vec<String>,
}

impl Browser {
    /// The verdict on the pages of `origin`.
    pub(super) fn new(
        origin: &str,
        gateway: &GatewayUrl,
        reads_session_cookie: bool,
        config: &Config,
    ) -> Result<Self, String> {
        let page = WebOrigin::parse(origin)
            .ok_or_else(|| format!("--origin: {origin:?} is not an origin such as https://app.example.org"))?;
        let verdict = PageOrigin::of(&page, &gateway.origin, config)?;
        let is_mixed = is_mixed(&page, gateway);
        Ok(Self {
            can_call: verdict != PageOrigin::Refused && !is_mixed,
            cors: cors(verdict, origin, &page, gateway),
            cookies: cookies(verdict, &page, gateway, reads_session_cookie),
            tls: tls(&page, gateway, is_mixed, config),
            origin: origin.to_owned(),
        })
    }
}

fn cors(verdict: PageOrigin, origin: &str, page: &WebOrigin, gateway: &GatewayUrl) -> String {
    match verdict {
        PageOrigin::Own => {
            "allowed: the page has the origin of the gateway, so the browser does not use CORS".to_owned()
        }
        PageOrigin::Listed => "allowed: gateway.cors_origins lists the origin. The browser sends a preflight request \
                               (OPTIONS), and keeps the permission for two hours"
            .to_owned(),
        PageOrigin::Refused if page.authority == gateway.origin.authority => format!(
            "refused: the page and the gateway have different schemes. Open the page at {}, or add {:?} to \
             gateway.cors_origins",
            gateway.url(),
            origin.trim_end_matches('/')
        ),
        PageOrigin::Refused => format!(
            "refused: gateway.cors_origins does not list the origin. The gateway responds to the preflight request with \
             403, and the page gets a network error. Add {:?} to gateway.cors_origins if you trust its pages",
            origin.trim_end_matches('/')
        ),
    }
}

fn cookies(verdict: PageOrigin, page: &WebOrigin, gateway: &GatewayUrl, reads_session_cookie: bool) -> String {
    if !reads_session_cookie {
        return "none reaches the service: the gateway forwards the session cookie only to methods that read it. The \
                page sends its access token in `authorization`"
            .to_owned();
    }
    if !gateway.is_secure() && !gateway.is_local() {
        return "none: the session cookie is `Secure`, and the gateway has no TLS".to_owned();
    }
    match verdict {
        PageOrigin::Own => "the browser sends the session cookie by itself".to_owned(),
        PageOrigin::Refused => {
            "none: the browser does not send the call, and the gateway refuses the session cookie from this origin \
             (CROSS_ORIGIN)"
                .to_owned()
        }
        PageOrigin::Listed if page.host == gateway.origin.host && page.scheme == gateway.origin.scheme => {
            "the browser sends the session cookie with `credentials: \"include\"`".to_owned()
        }
        PageOrigin::Listed => "the browser sends the session cookie with `credentials: \"include\"`, and only if the page and the gateway \
             belong to one site, with the same scheme (`SameSite=Strict`)"
            .to_owned(),
    }
}

/// Whether a browser blocks the call because it is less secure than the page.
fn is_mixed(page: &WebOrigin, gateway: &GatewayUrl) -> bool {
    page.scheme.as_str() == "https" && !gateway.is_secure() && !gateway.is_local()
}

fn tls(page: &WebOrigin, gateway: &GatewayUrl, is_mixed: bool, config: &Config) -> Vec<String> {
    let mut remarks = Vec::new();
    if is_mixed {
        remarks.push(
            "the browser blocks the call as mixed content: the page uses TLS and the gateway does not. Set \
             gateway.tls.listen, or put a proxy with TLS in front"
                .to_owned(),
        );
    } else if !gateway.is_secure() && !gateway.is_local() {
        remarks.push(
            "without TLS, passwords and tokens are readable on the network, and browsers store no session cookie"
                .to_owned(),
        );
    }
    if gateway.is_secure() {
        if config.tls.listen.is_empty() {
            remarks.push(
                "the configuration has no listener with TLS (gateway.tls.listen): a proxy in front must provide it"
                    .to_owned(),
            );
        } else if !config.tls.hsts.0.is_zero() {
            remarks.push(format!(
                "after the first call the browser uses only TLS for {} for {} (gateway.tls.hsts)",
                gateway.origin.host, config.tls.hsts
            ));
        }
    }
    if gateway.is_local() && !is_local(&page.host) {
        remarks.push(format!(
            "{} is the machine of the browser itself: some browsers ask the user before a page of another host may call it",
            gateway.origin.host
        ));
    }
    remarks
}
