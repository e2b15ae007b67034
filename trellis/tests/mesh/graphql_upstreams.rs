//! GraphQL of external upstreams: their names, and the memory of operations on large responses.

use std::{fs, path::Path};

use bytes::Bytes;
use hyper::body::Frame;
use prost::Message as _;
use serde_json::{Value, json};

use super::{
    cli::{error_line, run},
    external_upstream::{respond, serve, well},
    files,
    harness::{Mesh, Ports},
    wait::until,
    web::{self, Http},
};

/// A service, and a message of a package that other upstreams have, too.
const CONTRACT: &str = r#"
    syntax = "proto3";
    package acme.v1;
    message Note { string text = 1; }
    service NAME {
      rpc Read(Note) returns (Note) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Write(Note) returns (Note);
      rpc Follow(Note) returns (stream Note) { option idempotency_level = NO_SIDE_EFFECTS; }
    }
"#;

#[derive(prost::Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
}

/// The section of an upstream. `service` is also the prefix.
fn section(folder: &Path, service: &str, address: &str) -> String {
    let set = folder.join(format!("{service}.bin"));
    let (package, name) = service.rsplit_once('.').unwrap();
    let contract = CONTRACT.replace("NAME", name).replace("acme.v1", package);
    fs::write(&set, files::descriptors(&contract, folder)).unwrap();
    format!(
        "[gateway.external.{service:?}]\nto = {address:?}\naccess = \"public\"\ngraphql = true\ndescriptors = {set:?}\n"
    )
}

/// A gateway that is not started yet.
fn gateway(sections: impl Fn(&Path) -> String) -> Mesh {
    with_part(&["gateway"], sections)
}

fn with_part(part: &'static [&'static str], sections: impl Fn(&Path) -> String) -> Mesh {
    let mut mesh = Mesh::new(part, Ports::free());
    write(&mesh, &sections(mesh.folder()));
    let file = mesh.folder().join("trellis.toml");
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh
}

fn write(mesh: &Mesh, sections: &str) {
    let config = format!("[gateway]\ndescriptors_refresh = \"200ms\"\n{sections}");
    fs::write(mesh.folder().join("trellis.toml"), config).unwrap();
}

async fn execute(mesh: &Mesh, query: &str) -> Value {
    let (port, json) = (mesh.ports.gateway, [("content-type", "application/json")]);
    let body = Bytes::from(json!({ "query": query }).to_string());
    let response = web::send(port, Http::One, web::request("POST", port, "/graphql", &json, body)).await.unwrap();
    serde_json::from_slice(&response.body).unwrap()
}

/// An upstream that responds with the name of the service and the method.
async fn echo() -> String {
    let (address, _) = serve(|path| {
        let note = Note { text: path.to_owned() };
        respond(vec![Ok(Frame::data(web::frame(&note.encode_to_vec()))), well()])
    })
    .await;
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_with_equal_packages_share_the_schema() {
    let address = echo().await;
    let services = ["acme.v1.Shop", "acme.v1.Stock"];
    let mut mesh = gateway(|folder| services.map(|service| section(folder, service, &address)).concat());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let query = "{ acmeV1ShopRead { text __typename } acmeV1StockRead { text __typename } }";
    let response = execute(&mesh, query).await;
    let note = |service: &str| json!({ "text": format!("/acme.v1.{service}/Read"), "__typename": format!("AcmeV1{service}Note") });
    assert_eq!(response, json!({ "data": { "acmeV1ShopRead": note("Shop"), "acmeV1StockRead": note("Stock") } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_conflict_are_refused_with_both_owners() {
    let address = echo().await;
    let both = |line: &str| {
        let owners = ["of the upstream \"acme.v.a.Shop\"", "of the upstream \"acme.v_a.Shop\""];
        line.contains("gateway.external.\"acme.v_a.Shop\".graphql: two ") && owners.iter().all(|one| line.contains(one))
    };
    let all =
        |folder: &Path| ["acme.v.a.Shop", "acme.v_a.Shop"].map(|service| section(folder, service, &address)).concat();
    let mesh = with_part(&[], all);
    for arguments in [&["config", "--check"][..], &[]] {
        let line = error_line(&run(&mesh, arguments));
        assert!(both(&line), "{line}");
    }
    // A reload changes nothing.
    let mut mesh = gateway(|folder| section(folder, "acme.v.a.Shop", &address));
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let read = "{ acmeVAShopRead { text } }";
    let data = json!({ "data": { "acmeVAShopRead": { "text": "/acme.v.a.Shop/Read" } } });
    assert_eq!(execute(&mesh, read).await, data);
    write(&mesh, &all(mesh.folder()));
    until("the log names both upstreams", async || mesh.log().lines().any(|line| both(&line.replace("\\\"", "\""))))
        .await;
    assert_eq!(execute(&mesh, read).await, data);
}

/// Ten calls of 3 MiB, whose sum is beyond the budget; then a response that is within it.
#[tokio::test(flavor = "multi_thread")]
async fn operation_holds_little_more_than_its_budget() {
    const BUDGET_KIB: u64 = 16 * 1024;
    const SLACK_KIB: u64 = 12 * 1024;
    let (address, _) = serve(|path| {
        let note = Note { text: "x".repeat(if path.ends_with("Write") { 10 } else { 3 << 20 }) };
        let frame = web::frame(&note.encode_to_vec());
        let pieces = (0..frame.len()).step_by(16 << 10).map(|at| frame.slice(at..frame.len().min(at + (16 << 10))));
        respond(pieces.map(|piece| Ok(Frame::data(piece))).chain([well()]).collect())
    })
    .await;
    let mut mesh = gateway(|folder| section(folder, "acme.v1.Shop", &address));
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let warm = execute(&mesh, "mutation { acmeV1ShopWrite { text } }").await;
    assert!(warm["errors"].is_null(), "{warm}");
    let before = mesh.resident_kib();
    let peak = || mesh.status("VmHWM").saturating_sub(before);
    let ten: String = (0..10).map(|n| format!("a{n}: acmeV1ShopRead {{ text }} ")).collect();
    let response = execute(&mesh, &format!("{{ {ten} }}")).await;
    let reasons = response["errors"].as_array().unwrap().iter().map(|error| &error["extensions"]["reason"]);
    assert!(reasons.clone().count() > 0 && reasons.clone().all(|reason| reason == "RESPONSE_TOO_LARGE"), "{reasons:?}");
    let message = response["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("16777216 bytes (gateway.graphql.response_bytes)"), "{message}");
    println!("{} KiB for ten calls with a budget of {BUDGET_KIB} KiB", peak());
    let two = execute(&mesh, "{ a: acmeV1ShopRead { text } b: acmeV1ShopRead { text } }").await;
    assert_eq!(two["data"]["b"]["text"].as_str().map(str::len), Some(3 << 20), "{:?}", two["errors"]);
    println!("{} KiB after two more calls", peak());
    assert!(peak() < BUDGET_KIB + SLACK_KIB, "{} KiB", peak());
}
