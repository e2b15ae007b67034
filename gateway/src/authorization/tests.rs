//! What the service receives, and what its decisions mean.

use tonic::Code;

use super::{
    decision::read,
    messages::{
        CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpStatus, NamedValue, OkHttpResponse, RpcStatus,
    },
    *,
};

fn option(name: &str, value: &str, append: Option<bool>) -> HeaderValueOption {
    let header = NamedValue { key: name.to_owned(), value: value.to_owned(), raw_value: Vec::new() };
    HeaderValueOption { header: Some(header), append }
}

fn denied(status: i32, body: &str) -> CheckResponse {
    let headers = vec![option("www-authenticate", "Basic", None), option("set-cookie", "a=b", None)];
    let denied = DeniedHttpResponse { status: Some(HttpStatus { code: status }), headers, body: body.to_owned() };
    let status = RpcStatus { code: Code::PermissionDenied as i32, message: "no".to_owned() };
    CheckResponse { status: Some(status), denied_response: Some(denied), ok_response: None }
}

#[test]
fn allowed_call_gets_the_configured_headers_only() {
    let sets = [HeaderName::from_static("x-tenant")];
    let all = [("x-tenant", "a"), ("x-trellis-service-token", "made up"), ("x-other", "b"), ("x-tenant", "c\r\nx: d")];
    let headers = all.map(|(name, value)| option(name, value, None)).to_vec();
    let headers_to_remove = ["X-Secret", "te", "x-trellis-service-token", "no name"].map(str::to_owned).to_vec();
    let ok_response = Some(OkHttpResponse { headers, headers_to_remove });
    let changes = read(CheckResponse { ok_response, ..CheckResponse::default() }, &sets).unwrap();
    let mut request = HeaderMap::new();
    for name in ["te", "x-secret", "x_secret", "x-trellis-service-token", "x-kept"] {
        request.insert(name, "1".parse().unwrap());
    }
    changes.remove(&mut request);
    changes.set(&mut request);
    let mut names: Vec<_> = request.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["te", "x-kept", "x-tenant", "x-trellis-service-token"]);
    let values = ["x-tenant", "x-trellis-service-token"].map(|name| request[name].to_str().unwrap());
    assert_eq!(values, ["a", "1"]);
}

#[test]
fn refusal_has_the_code_of_its_http_status() {
    for (status, code) in [
        (400, Code::InvalidArgument),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (302, Code::PermissionDenied),
        (404, Code::NotFound),
        (429, Code::ResourceExhausted),
        (503, Code::Unavailable),
        (0, Code::PermissionDenied),
    ] {
        assert_eq!(read(denied(status, ""), &[]).unwrap_err().code(), code, "{status}");
    }
    let refusal = read(denied(401, "sign\r\nin\u{7f}"), &[]).unwrap_err();
    assert_eq!(refusal.message(), "sign  in ");
    let headers = refusal.metadata().clone().into_headers();
    assert_eq!((headers.len(), headers["www-authenticate"].to_str().unwrap()), (1, "Basic"), "{headers:?}");
    assert_eq!(read(denied(0, &"é".repeat(1_000)), &[]).unwrap_err().message().len(), 1_000);
    // A status alone refuses too, and never as a success.
    for (code, expected) in [(16, Code::Unauthenticated), (2, Code::PermissionDenied), (99, Code::PermissionDenied)] {
        let status = Some(RpcStatus { code, message: String::new() });
        let refusal = read(CheckResponse { status, ..CheckResponse::default() }, &[]).unwrap_err();
        assert_eq!(refusal.code(), expected, "{code}");
    }
}

#[test]
fn section_without_an_effect_names_its_key() {
    type Change = fn(&mut AuthorizationConfig);
    let with = |change: Change| {
        let mut config = AuthorizationConfig { to: "http://127.0.0.1:1".into(), ..AuthorizationConfig::default() };
        change(&mut config);
        check(&config)
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(check(&AuthorizationConfig::default()), Ok(()));
    let cases: [(Change, &str); 11] = [
        (|config| config.ca = "a.crt".to_owned(), "ca"),
        (|config| (config.to, config.fail_open) = (<_>::default(), true), "to"),
        (|config| config.to = "127.0.0.1:1".into(), "to"),
        (|config| config.sends = vec!["a b".to_owned()], "sends"),
        (|config| config.sets = vec!["authorization".to_owned()], "sets"),
        (|config| config.sets = vec!["grpc-timeout".to_owned()], "sets"),
        (|config| config.sets = vec!["x-trellis-user".to_owned()], "sets"),
        (|config| config.sets = vec!["x-forwarded-for".to_owned()], "sets"),
        (|config| config.sets = vec!["X_Forwarded-For".to_owned()], "sets"),
        (|config| config.sets = ["x-tenant", "X_Tenant"].map(str::to_owned).to_vec(), "sets"),
        (|config| config.sends = ["x-tenant", "x_tenant"].map(str::to_owned).to_vec(), "sends"),
    ];
    for (change, key) in cases {
        assert!(with(change).unwrap_err().starts_with(&format!("gateway.authorization.{key}: ")), "{key}");
    }
}

#[test]
fn source_is_the_certificate_of_the_client() {
    let certificate = ClientCertificate {
        subject: "CN=robot".to_owned(),
        uris: Vec::new(),
        dns_names: vec!["robot.acme.test".to_owned()],
        fingerprint: String::new(),
        expires: kit::Timestamp::from_micros(0),
        der: vec![0xff; 3],
    };
    let source = source(Client::Known([127, 0, 0, 1].into()), Some(&certificate));
    let pem = "%2D%2D%2D%2D%2DBEGIN%20CERTIFICATE%2D%2D%2D%2D%2D%0A%2F%2F%2F%2F%0A";
    assert_eq!((source.principal.as_str(), source.certificate.starts_with(pem)), ("robot.acme.test", true));
    assert_eq!(super::source(Client::Known([127, 0, 0, 1].into()), None).principal, "");
}
