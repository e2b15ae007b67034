//! Rules of the gateway's configuration for methods: limits on calls in flight, and maintenance.

use std::fs;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use proto::auth::v1::GetJwksRequest;
use serde_json::Value;
use tonic::Code;

use super::{
    cancel,
    faulty_upstream::{self, Behavior, READ, Upstream, WRITE},
    harness::{Mesh, Ports, reason},
    wait::until,
    web::{self, BINARY, Http, Received},
};

/// A gateway without a mesh, in front of one upstream.
struct Edge {
    gateway: Mesh,
    /// The part of the configuration that stays.
    external: String,
}

impl Edge {
    /// A gateway with `rules`. Without `has_descriptors` all methods of the upstream are one.
    async fn start(address: &str, has_descriptors: bool, rules: &str) -> Self {
        let mut gateway = Mesh::new(&["gateway"], Ports::free());
        let set = gateway.folder().join("shop.bin");
        fs::write(&set, faulty_upstream::descriptors()).unwrap();
        let descriptors = if has_descriptors { format!(", descriptors = {set:?}") } else { String::new() };
        let external = format!(
            "[gateway]\ndefault_rate_requests = 1_000_000\n[gateway.external]\n\
             \"acme.v1.Shop\" = {{ to = {address:?}, access = \"public\"{descriptors} }}\n"
        );
        let file = gateway.folder().join("trellis.toml");
        fs::write(&file, format!("{external}{rules}")).unwrap();
        gateway.set("CONFIG", file.to_str().unwrap());
        gateway.launch();
        gateway.ready(gateway.ports.gateway).await;
        Self { gateway, external }
    }

    /// Changes the rules of the running gateway, at once: it must read no part of the file.
    fn change(&self, rules: &str) {
        let [new, file] = ["trellis.toml.new", "trellis.toml"].map(|name| self.gateway.folder().join(name));
        fs::write(&new, format!("{}{rules}", self.external)).unwrap();
        fs::rename(new, file).unwrap();
    }

    fn port(&self) -> u16 {
        self.gateway.ports.gateway
    }

    /// A call over gRPC-Web.
    async fn call(&self, path: &str) -> Received {
        let call = web::call(self.port(), path, BINARY, &[], &GetJwksRequest {});
        web::send(self.port(), Http::One, call).await.unwrap()
    }

    /// A call over Connect with JSON: its status and the error.
    async fn connect(&self, path: &str) -> (Received, Value) {
        let headers = [("content-type", "application/json")];
        let request = web::request("POST", self.port(), path, &headers, Bytes::from_static(b"{}"));
        let response = web::send(self.port(), Http::One, request).await.unwrap();
        let json = serde_json::from_slice(&response.body).unwrap();
        (response, json)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_are_limited_in_every_protocol() {
    let upstream = Upstream::start(Behavior::Held).await;
    let rules = "[gateway.in_flight.shop]\nmethods = [\"acme.v1.Shop\"]\ncalls = 2\nretry_after = \"4s\"\n";
    let edge = Edge::start(&upstream.address, true, rules).await;
    let channel = edge.gateway.channel(edge.port()).await;
    let held = [READ, WRITE].map(|path| tokio::spawn(faulty_upstream::call(channel.clone(), path)));
    until("two calls arrive", async || upstream.attempts() == 2).await;
    let refused = faulty_upstream::call(channel.clone(), READ).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "CALLS_IN_FLIGHT_LIMITED"));
    let web = edge.call(READ).await;
    assert_eq!((web.grpc_status().as_str(), web.reason().as_str()), ("14", "CALLS_IN_FLIGHT_LIMITED"));
    let (response, error) = edge.connect(READ).await;
    assert_eq!((response.status, &error["code"]), (503, &Value::from("unavailable")), "{error}");
    let delay: u64 = response.header("retry-after").parse().unwrap();
    assert!((2..=6).contains(&delay), "{delay}");
    assert_eq!(upstream.attempts(), 2, "a refused call is not forwarded");
    // A reload keeps the count.
    edge.change(&rules.replace("calls = 2", "calls = 3"));
    until("the gateway reads the configuration again", async || {
        edge.gateway.log().contains("the configuration was read again")
    })
    .await;
    let third = tokio::spawn(faulty_upstream::call(channel.clone(), READ));
    until("a third call arrives", async || upstream.attempts() == 3).await;
    assert_eq!(edge.call(READ).await.grpc_status(), "14");
    upstream.release();
    for call in held.into_iter().chain([third]) {
        call.await.unwrap().unwrap();
    }
    until("the method is open", async || edge.call(READ).await.grpc_status() == "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_stream_counts_as_a_call_in_flight() {
    let rules = "[gateway.in_flight.shop]\nmethods = [\"acme.v1.Shop\"]\ncalls = 1\n";
    let edge = Edge::start(&cancel::upstream(), false, rules).await;
    let open = async || {
        let call = web::call(edge.port(), "/acme.v1.Shop/Tick", BINARY, &[], &GetJwksRequest {});
        web::begin(edge.port(), Http::Two, call).await.unwrap()
    };
    let mut first = open().await;
    first.frame().await.expect("a tick").expect("an open stream");
    let second = open().await;
    assert_eq!(second.headers()["grpc-status"], "14");
    drop(first);
    until("a stream opens", async || !open().await.headers().contains_key("grpc-status")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_of_a_method_starts_and_ends_with_a_reload() {
    let upstream = Upstream::start(Behavior::Good).await;
    let edge = Edge::start(&upstream.address, true, "").await;
    assert_eq!(edge.call(READ).await.grpc_status(), "0");
    let rules = "[gateway.maintenance.shop]\nmethods = [\"acme.v1.Shop/Read\"]\nmessage = \"back at 14:00 UTC\"\n\
                 retry_after = \"10m\"\n";
    edge.change(rules);
    until("the method is in maintenance", async || edge.call(READ).await.grpc_status() == "14").await;
    let attempts = upstream.attempts();
    let web = edge.call(READ).await;
    assert_eq!((web.reason().as_str(), web.header("grpc-message")), ("MAINTENANCE", "back%20at%2014:00%20UTC"));
    let (response, error) = edge.connect(READ).await;
    assert_eq!((response.status, response.header("retry-after")), (503, "600"));
    assert_eq!(error["message"], "back at 14:00 UTC");
    assert_eq!(upstream.attempts(), attempts, "a refused call is not forwarded");
    // Other methods, probes and the admin listener stay available.
    assert_eq!(edge.call(WRITE).await.grpc_status(), "0");
    assert_eq!(edge.call("/grpc.health.v1.Health/Check").await.grpc_status(), "0");
    for (port, path) in [(edge.port(), "/readyz"), (edge.port(), "/livez"), (edge.gateway.ports.admin, "/readyz")] {
        assert_eq!(web::get(port, path).await.unwrap().status, 200, "{path}");
    }
    edge.change(&format!("{rules}allow_addresses = [\"127.0.0.0/8\", \"::1\"]\n"));
    until("the method is open", async || edge.call(READ).await.grpc_status() == "0").await;
    edge.change(&format!("{rules}enabled = false\n"));
    until("the gateway reads the configuration a third time", async || {
        edge.gateway.log().matches("the configuration was read again").count() == 3
    })
    .await;
    assert_eq!(edge.call(READ).await.grpc_status(), "0");
}
