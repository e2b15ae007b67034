//! Which server has a path.

use http::Request;
use prost_reflect::DescriptorPool;

use super::*;
use crate::{
    config::Config,
    protocol::{ClientProtocol, HttpForms, HttpRequest},
    test_contracts::compile,
};

/// A contract of the service `PACKAGE.S`, whose methods `M0`, `M1`, … have these HTTP forms.
fn contract(package: &str, forms: &[&str]) -> (DescriptorPool, Registry) {
    let method =
        |(at, form): (usize, &&str)| format!("rpc M{at}(R) returns (R) {{ option (google.api.http) = {{{form}}}; }}\n");
    let methods: String = forms.iter().enumerate().map(method).collect();
    let pool = compile(&format!(
        "syntax = \"proto3\"; package {package}; import \"google/api/annotations.proto\";
         service S {{ {methods} }} message R {{ string a = 1; string b = 2; }}"
    ));
    let registry = Registry::new(&pool);
    (pool, registry)
}

fn methods<'a>((pool, registry): &'a (DescriptorPool, Registry)) -> Vec<OpenMethod<'a>> {
    let services = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    services.map(|method| (registry, method)).collect()
}

fn with_upstreams(mesh: &[&str], upstreams: &[(&str, &[&str])]) -> Vec<FormTable> {
    let mesh = contract("mesh", mesh);
    let contracts: Vec<_> = upstreams.iter().map(|(prefix, forms)| (*prefix, contract(prefix, forms))).collect();
    let upstreams = contracts.iter().map(|(prefix, contract)| (Arc::from(*prefix), methods(contract)));
    tables(methods(&mesh), upstreams.collect(), "").unwrap().0
}

/// The path of the method in gRPC that a request calls, or the status of its refusal.
fn called(tables: &[FormTable], method: &str, path: &str) -> String {
    let registry = Registry::new(&DescriptorPool::new());
    let all = tables.iter().map(|of| Arc::clone(&of.table)).collect();
    let forms = HttpForms::new(all, registry, &Config::default().json);
    match forms.find(&Request::builder().method(method).uri(path).body(()).unwrap()) {
        HttpRequest::Call(call) => ClientProtocol::Http(call).path().unwrap().to_string(),
        HttpRequest::Refused(refusal) => refusal.response().status().as_str().to_owned(),
        HttpRequest::Nothing => "nothing".to_owned(),
    }
}

/// The forms that requests can reach.
fn routed(table: &FormTable) -> Vec<String> {
    table.routed.iter().map(|&at| table.table.bindings()[at].template().to_string()).collect()
}

#[test]
fn own_paths_are_valid_templates() {
    for path in OWN_PATHS {
        assert!(Template::parse(path).is_ok(), "{path}");
    }
}

#[test]
fn form_with_a_path_of_the_gateway_is_refused() {
    for path in [
        "/",
        "/index.html",
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/openapi/acme.json",
        "/assets/{a}",
        "/.well-known/jwks.json",
        "/.well-known/trellis-gateway/{a}",
        "/{a}",
        "/{a}/{b}",
        "/{a=**}",
    ] {
        for method in ["get", "post"] {
            let form = format!("{method}: \"{path}\"");
            let mesh = contract("mesh", &[&form]);
            let error = tables(methods(&mesh), Vec::new(), "").unwrap_err();
            let expected = format!("mesh.S.M0: {} {path} matches /", method.to_uppercase());
            assert!(error.starts_with(&expected), "{error}");
            let tables = with_upstreams(&[], &[("acme", &[&form, "get: \"/v1/things\""])]);
            assert_eq!(tables.len(), 1, "{path}: the upstream has no HTTP forms");
        }
    }
}

#[test]
fn form_with_the_path_of_forward_auth_is_refused() {
    let mesh = contract("mesh", &["get: \"/check/{a}\""]);
    let error = tables(methods(&mesh), Vec::new(), "/check/token").unwrap_err();
    assert!(error.contains("/check/token, which the gateway serves itself (gateway.forward_auth.path)"), "{error}");
    let named = contract("acme", &["get: \"/check\""]);
    let (found, warnings) = tables(Vec::new(), vec![(Arc::from("acme"), methods(&named))], "/check").unwrap();
    assert!(found.len() == 1 && warnings[0].problem.contains("GET /check matches /check"), "{warnings:?}");
    assert_eq!(tables(Vec::new(), vec![(Arc::from("acme"), methods(&named))], "").unwrap().0.len(), 2);
}

#[test]
fn forms_beside_the_gateways_paths_are_served() {
    let forms = ["get: \"/livez/{a}\"", "get: \"/{a}:run\"", "get: \"/v1/{a=**}\"", "get: \"/live\""];
    let tables = with_upstreams(&[], &[("acme", &forms)]);
    assert_eq!(called(&tables, "GET", "/livez/x"), "/acme.S/M0");
    assert_eq!(called(&tables, "GET", "/livez"), "nothing");
}

#[test]
fn no_upstream_takes_a_path_of_the_mesh() {
    let mesh = ["get: \"/v1/users/{a}\"", "get: \"/v1/users\""];
    let acme = ["get: \"/v1/users/me\"", "delete: \"/v1/users/{b}\"", "get: \"/v1/{a=**}\"", "get: \"/v1/users:run\""];
    let tables = with_upstreams(&mesh, &[("acme", &acme)]);
    for (method, path, expected) in [
        ("GET", "/v1/users/me", "/mesh.S/M0"),
        ("GET", "/v1/users", "/mesh.S/M1"),
        ("DELETE", "/v1/users/u1", "405"),
        ("OPTIONS", "/v1/users/u1", "204"),
        ("GET", "/v1/users/u1/pets", "/acme.S/M2"),
        ("GET", "/v1/users:run", "/acme.S/M3"),
        ("GET", "/v2", "nothing"),
    ] {
        assert_eq!(called(&tables, method, path), expected, "{method} {path}");
    }
    assert_eq!(routed(&tables[1]), ["/v1/{a=**}", "/v1/users:run"]);
}

#[test]
fn first_prefix_has_a_path_of_two_upstreams() {
    let tables = with_upstreams(
        &[],
        &[
            ("shop", &["get: \"/v1/{a}\"", "get: \"/v1/shops/{a}\""]),
            ("bank", &["get: \"/v1/{b}\"", "post: \"/v1/{b}/pay\""]),
        ],
    );
    assert_eq!(called(&tables, "GET", "/v1/x"), "/bank.S/M0");
    assert_eq!(called(&tables, "POST", "/v1/x/pay"), "/bank.S/M1");
    assert_eq!(called(&tables, "GET", "/v1/shops/x"), "/shop.S/M1");
    assert_eq!((routed(&tables[1]).len(), routed(&tables[2])), (2, vec!["/v1/shops/{a}".to_owned()]));
}

#[test]
fn invalid_forms_of_one_upstream_leave_the_others() {
    let twice = ["get: \"/v1/{a}\"", "get: \"/v1/{b}\""];
    let tables = with_upstreams(&[], &[("bank", &twice), ("shop", &["get: \"/v1/{a}\""])]);
    assert_eq!(called(&tables, "GET", "/v1/x"), "/shop.S/M0");
}

#[test]
fn hidden_and_invalid_forms_are_warnings() {
    let (mesh, bank) = (contract("mesh", &["get: \"/v1/{a}\""]), contract("bank", &["get: \"/v1/shops\""]));
    let shop = contract("shop", &["get: \"/v2/{a}\"", "get: \"/v2/{b}\""]);
    let upstreams = vec![(Arc::from("bank"), methods(&bank)), (Arc::from("shop"), methods(&shop))];
    let (_, warnings) = tables(methods(&mesh), upstreams, "").unwrap();
    assert_eq!(
        warnings[0].problem,
        "GET /v1/shops of bank.S.M0 is unreachable: GET /v1/{a} of mesh.S.M0 (mesh) comes earlier and has all its paths"
    );
    assert!(warnings[1].problem.starts_with("the upstream has no HTTP forms: shop.S.M1"), "{warnings:?}");
    assert_eq!(warnings.iter().map(|of| &*of.upstream).collect::<Vec<_>>(), ["bank", "shop"]);
}
