//! The rules for methods apply to each call of an operation, as they do in every other protocol.

use std::fs;

use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Value, json};

use super::{
    authorization::authorizer,
    external_upstream::{respond, serve, well},
    files,
    harness::{Mesh, Ports},
    web::{self, Http},
};

const CONTRACT: &str = r#"
    syntax = "proto3";
    package acme.v1;
    message Note { string text = 1; }
    service Shop {
      rpc Open(Note) returns (Note) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Paused(Note) returns (Note) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Scoped(Note) returns (Note) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Denied(Note) returns (Note) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Limited(Note) returns (Note) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Full(Note) returns (Note) { option idempotency_level = NO_SIDE_EFFECTS; }
    }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn rules_for_methods_apply_to_each_call() {
    let (authorizer, checks) = authorizer().await;
    let (upstream, seen) = serve(|_| respond(vec![Ok(Frame::data(web::frame(b""))), well()])).await;
    let mut mesh = Mesh::new(&[], Ports::free());
    let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.bin"));
    fs::write(&set, files::descriptors(CONTRACT, mesh.folder())).unwrap();
    let config = format!(
        "[gateway.external.\"acme.v1.Shop\"]\nto = {upstream:?}\naccess = \"signed_in\"\ndescriptors = {set:?}\ngraphql = true\n\
         token_audience = \"shop\"\n\
         [gateway.maintenance.shop]\nmethods = [\"acme.v1.Shop/Paused\"]\nmessage = \"back soon\"\n\
         [gateway.required_scopes.shop]\nmethods = [\"acme.v1.Shop/Scoped\"]\nscopes = [\"shop:read\"]\n\
         [gateway.authorization]\nto = {authorizer:?}\nmethods = [\"acme.v1.Shop/Denied\"]\nsends = [\"x-decision\"]\n\
         [gateway.in_flight.shop]\nmethods = [\"acme.v1.Shop/Full\"]\ncalls = 1\n\
         [gateway.rate_limits.overrides.shop]\nmethods = [\"acme.v1.Shop/Limited\"]\n\
         limits = [{{ requests = 1, period = \"1h\" }}]\n",
    );
    fs::write(&file, config).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let ada = mesh.sign_up("ada").await;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    let field = |key: &str, method: &str| format!("{key}: acmeV1Shop{method} {{ text }} ");
    let rows = [
        ("open", "Open", "", ""),
        ("paused", "Paused", "UNAVAILABLE", "MAINTENANCE"),
        ("scoped", "Scoped", "PERMISSION_DENIED", "SCOPE_REQUIRED"),
        ("denied", "Denied", "UNAUTHENTICATED", "AUTHORIZATION_DENIED"),
        ("limited", "Limited", "", ""),
        ("again", "Limited", "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
        ("full", "Full", "", ""),
        ("fuller", "Full", "UNAVAILABLE", "CALLS_IN_FLIGHT_LIMITED"),
    ];
    let query: String = rows.iter().map(|(key, method, ..)| field(key, method)).collect();
    let send = async |headers: &[(&str, &str)]| -> Value {
        let headers = [&[("content-type", "application/json"), ("x-decision", "decide-deny")], headers].concat();
        let body = Bytes::from(json!({ "query": format!("{{ {query} }}") }).to_string());
        let request = web::request("POST", mesh.ports.gateway, "/graphql", &headers, body);
        serde_json::from_slice(&web::send(mesh.ports.gateway, Http::One, request).await.unwrap().body).unwrap()
    };
    let refusals = |response: &Value, key: &str| {
        let of_key = |error: &&Value| error["path"] == json!([key]);
        let error = response["errors"].as_array().unwrap().iter().find(of_key).map(|error| &error["extensions"]);
        let text = |name: &str| error.map_or("", |error| error[name].as_str().unwrap_or_default()).to_owned();
        (text("code"), text("reason"))
    };
    let response = send(&[("authorization", &bearer)]).await;
    for (key, method, code, reason) in rows {
        assert_eq!(refusals(&response, key), (code.to_owned(), reason.to_owned()), "{method}: {response}");
        assert_eq!(response["data"][key].is_null(), !code.is_empty(), "{method}: {response}");
    }
    assert_eq!(checks.lock().len(), 1, "the service decides about its method only");
    // A token for the upstream identifies the caller.
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3, "refused calls are not forwarded");
    assert!(
        seen.iter().all(|headers| headers.contains_key("authorization") && headers["authorization"] != bearer.as_str())
    );
    let anonymous = send(&[]).await;
    for (key, ..) in rows.iter().filter(|(_, method, ..)| *method != "Paused") {
        assert_eq!(refusals(&anonymous, key).0, "UNAUTHENTICATED", "{anonymous}");
    }
}
