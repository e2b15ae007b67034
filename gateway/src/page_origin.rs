//! How the gateway treats the pages of an origin, for `trellis explain`.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{HOST, ORIGIN},
};
use kit::origin::WebOrigin;

use crate::{
    config::Config,
    http::cors::{Origins, as_browsers_send_it},
};

/// An origin of pages, as a gateway treats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrigin {
    /// It is the gateway's own: browsers do not use CORS.
    Own,
    /// `gateway.cors_origins` lists it.
    Listed,
    /// Browsers refuse its calls.
    Refused,
}

/// A host that is not that of any page.
const ELSEWHERE: HeaderValue = HeaderValue::from_static("gateway.invalid");

impl PageOrigin {
    /// The verdict on `origin` for the gateway at `gateway`. The error names the invalid key.
    pub fn of(origin: &WebOrigin, gateway: &WebOrigin, config: &Config) -> Result<Self, String> {
        let origins = Origins::new(&config.cors_origins)?;
        let sent = as_browsers_send_it(origin.clone());
        if sent == as_browsers_send_it(gateway.clone()) {
            return Ok(Self::Own);
        }
        let sent = HeaderValue::try_from(sent).map_err(|_| "the origin does not fit into a header".to_owned())?;
        let preflight: HeaderMap = [(ORIGIN, sent), (HOST, ELSEWHERE)].into_iter().collect();
        Ok(if origins.preflight(&preflight).status() == StatusCode::NO_CONTENT { Self::Listed } else { Self::Refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_is_that_of_the_gateway() {
        let config = Config { cors_origins: vec!["https://App.example.org".to_owned()], ..Config::default() };
        let of = |origin: &str| {
            let gateway = WebOrigin::parse("https://api.example.org:443").unwrap();
            PageOrigin::of(&WebOrigin::parse(origin).unwrap(), &gateway, &config).unwrap()
        };
        assert_eq!(of("https://api.example.org"), PageOrigin::Own);
        assert_eq!(of("https://app.example.org/"), PageOrigin::Listed);
        for other in ["http://app.example.org", "http://api.example.org", "https://app.example.org:8443"] {
            assert_eq!(of(other), PageOrigin::Refused, "{other}");
        }
    }
}
