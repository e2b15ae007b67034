//! HTTP controls: an upstream that is trusted with them states the status and some headers of JSON over HTTP.

use bytes::Bytes;
use hyper::{Response, body::Frame};
use prost::Message as _;
use proto::auth::v1::GetJwksRequest;
use serde_json::Value;

use super::{
    external_upstream::{serve, trailers, well},
    harness::{Mesh, Ports},
    web::{self, BINARY, Http, Received},
};

/// The parts of a descriptor set that these tests need. `prost-types` has no custom options.
#[derive(Clone, PartialEq, prost::Message)]
struct Set {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<Named>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
    #[prost(string, tag = "12")]
    syntax: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    input: String,
    #[prost(string, tag = "3")]
    output: String,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
    #[prost(bool, tag = "6")]
    streams: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Options {
    /// `google.api.http`.
    #[prost(message, optional, tag = "72295728")]
    http: Option<Rule>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Rule {
    #[prost(string, tag = "2")]
    get: String,
}

/// `GET /shop/NAME` for each method.
fn descriptors() -> Vec<u8> {
    let method = |name: &str| Method {
        name: name.to_owned(),
        input: ".acme.v1.Nothing".to_owned(),
        output: ".acme.v1.Nothing".to_owned(),
        options: Some(Options { http: Some(Rule { get: format!("/shop/{name}") }) }),
        streams: name == "Lines",
    };
    let methods = ["Download", "Login", "Invalid", "Failed", "Lines"].map(method).to_vec();
    let file = File {
        name: "acme/v1/shop.proto".to_owned(),
        package: "acme.v1".to_owned(),
        imports: vec!["google/api/annotations.proto".to_owned()],
        messages: vec![Named { name: "Nothing".to_owned() }],
        services: vec![Service { name: "Shop".to_owned(), methods }],
        syntax: "proto3".to_owned(),
    };
    // The mesh's own descriptors hold the imported file.
    [proto::DESCRIPTORS, &Set { files: vec![file] }.encode_to_vec()].concat()
}

/// Each method responds with an empty message, and with the controls of its name.
async fn upstream() -> String {
    let (address, _) = serve(|path| {
        let (fields, end): (&[(&str, &str)], _) = match path.rsplit('/').next().unwrap() {
            "Download" => (
                &[
                    ("x-http-status", "203"),
                    ("x-http-header-content-disposition", "attachment; filename=\"a.json\""),
                    ("x-http-header-cache-control", "public, max-age=60"),
                ],
                well(),
            ),
            "Login" => (&[("x-http-status", "302"), ("x-http-header-location", "https://a.example/?code=1")], well()),
            "Invalid" => (&[("x-http-header-set-cookie", "a=b")], well()),
            "Failed" => (
                &[("x-http-status", "302"), ("x-http-header-location", "/")],
                trailers(&[("grpc-status", "5"), ("grpc-message", "gone"), ("x-http-status", "200")]),
            ),
            _ => (&[("x-http-header-content-disposition", "attachment")], well()),
        };
        let mut response: Response<_> = super::external_upstream::respond(vec![Ok(Frame::data(web::frame(b""))), end]);
        for (name, value) in fields {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    })
    .await;
    address
}

/// A gateway that trusts the methods in `trusted`.
async fn gateway(trusted: &str) -> Mesh {
    let mut mesh = Mesh::new(&["gateway"], Ports::free());
    let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.bin"));
    std::fs::write(&set, descriptors()).unwrap();
    let config = format!(
        "[gateway]\nhttp_controls = {trusted}\n[gateway.external]\n\
         \"acme.v1.Shop\" = {{ to = {:?}, access = \"public\", descriptors = {set:?} }}\n",
        upstream().await
    );
    std::fs::write(&file, config).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    mesh
}

async fn get(mesh: &Mesh, method: &str, name: &str) -> Received {
    let request = web::request(method, mesh.ports.gateway, &format!("/shop/{name}"), &[], Bytes::new());
    web::send(mesh.ports.gateway, Http::One, request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_upstream_redirects_and_offers_downloads() {
    let mesh = gateway("[\"acme.v1.Shop\"]").await;
    let download = get(&mesh, "GET", "Download").await;
    assert_eq!((download.status, &download.body[..]), (203, &b"{}"[..]), "{download:?}");
    let headers = ["content-type", "content-disposition", "cache-control"].map(|name| download.header(name));
    assert_eq!(headers, ["application/json", "attachment; filename=\"a.json\"", "public, max-age=60"]);
    for method in ["GET", "HEAD"] {
        let login = get(&mesh, method, "Login").await;
        assert_eq!((login.status, login.header("location")), (302, "https://a.example/?code=1"));
        assert_eq!((login.body.len(), login.header("content-type")), (0, ""));
    }
    let lines = get(&mesh, "GET", "Lines").await;
    assert_eq!((lines.status, lines.header("content-disposition")), (200, "attachment"));
    assert_eq!(&lines.body[..], b"{\"result\":{}}\n{\"trailers\":{\"x-upstream\":[\"yes\"]}}\n");
    let invalid = get(&mesh, "GET", "Invalid").await;
    let error: Value = serde_json::from_slice(&invalid.body).unwrap();
    assert_eq!((invalid.status, &error["details"][0]["reason"]), (500, &Value::from("HTTP_CONTROL_INVALID")));
    assert_eq!(invalid.header("set-cookie"), "");
    let failed = get(&mesh, "GET", "Failed").await;
    assert_eq!((failed.status, failed.header("location")), (404, ""), "a failure has its own status");
    assert!(!format!("{failed:?}").contains("x-http-"), "{failed:?}");
}

/// No client receives the reserved names: not without trust, and not in another protocol.
#[tokio::test(flavor = "multi_thread")]
async fn reserved_metadata_reaches_no_client() {
    let (trusting, other) = (gateway("[\"acme.v1.Shop\"]").await, gateway("[\"acme.v1.Shop/Download\"]").await);
    let login = get(&other, "GET", "Login").await;
    assert_eq!((login.status, login.header("location"), &login.body[..]), (200, "", &b"{}"[..]));
    assert_eq!(get(&other, "GET", "Download").await.status, 203);
    assert!(!format!("{login:?}").contains("x-http-"), "{login:?}");
    let port = trusting.ports.gateway;
    for name in ["Login", "Failed", "Invalid"] {
        let path = format!("/acme.v1.Shop/{name}");
        let expected = if name == "Failed" { "5" } else { "0" };
        for (http, content_type) in [(Http::Two, "application/grpc"), (Http::One, BINARY)] {
            let call = web::call(port, &path, content_type, &[], &GetJwksRequest {});
            let response = web::send(port, http, call).await.unwrap();
            assert_eq!((response.status, response.grpc_status().as_str()), (200, expected), "{name} {content_type}");
            let text = format!("{:?} {}", response.headers, String::from_utf8_lossy(&response.body));
            assert!(!text.contains("x-http-") && !text.contains("location"), "{text}");
        }
    }
    let headers = [("content-type", "application/json")];
    let request = web::request("POST", port, "/acme.v1.Shop/Login", &headers, Bytes::from_static(b"{}"));
    let connect = web::send(port, Http::One, request).await.unwrap();
    assert_eq!((connect.status, connect.header("location")), (200, ""));
    assert!(!format!("{connect:?}").contains("x-http-"), "{connect:?}");
}
