//! Rate limits from the client's view: real gateways that share a real Redis.

use std::{
    fs,
    time::{Duration, Instant},
};

use proto::{auth::v1::GetJwksRequest, messaging::v1::SubscribeRequest};
use tonic::Code;

use super::{
    external_upstream::serve_message,
    harness::{Mesh, Ports, Store, free_port, reason},
    redis::Redis,
    split::{make_keys, prepared},
    wait::until,
    web::{self, BINARY, Http, Received},
};

const PATH: &str = "/acme.v1.Shop/Good";
const PAGE: &str = "https://app.example.org";

/// A gateway for one external service, with `limits` in its configuration.
async fn gateway(redis: &Redis, keys: &std::path::Path, upstream: &str, limits: &str) -> Mesh {
    gateway_by(&redis.url(), keys, upstream, limits, |_| {}).await
}

async fn gateway_by(
    redis: &str,
    keys: &std::path::Path,
    upstream: &str,
    limits: &str,
    settle: impl FnOnce(&mut Mesh),
) -> Mesh {
    let mut process = prepared("gateway", Ports::free(), keys, "");
    let file = process.folder().join("trellis.toml");
    fs::write(&file, settings(upstream, limits)).unwrap();
    process.set("CONFIG", file.to_str().unwrap());
    process.set("REDIS__URL", redis);
    settle(&mut process);
    // These tests check decisions on a machine of any speed; kit's tests check the limiter's time budget.
    process.set("LIMITER__BUDGET", "1s");
    process.set("GATEWAY__CORS_ORIGINS", PAGE);
    process.launch();
    until("the limiter is connected", async || shows(&process, "limiter").await == Some(true)).await;
    process
}

fn settings(upstream: &str, limits: &str) -> String {
    format!("[gateway]\n{limits}\n[gateway.external.\"acme.v1.Shop\"]\nto = [\"{upstream}\"]\naccess = \"public\"\n")
}

/// The state of a dependency on the admin listener, of the first part that has it.
async fn shows(process: &Mesh, need: &str) -> Option<bool> {
    let response = web::get(process.ports.admin, "/readyz").await.ok()?;
    let shown: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
    shown.as_object()?.values().find_map(|needs| needs[need].as_bool())
}

async fn call(process: &Mesh, headers: &[(&str, &str)]) -> Received {
    let port = process.ports.gateway;
    web::send(port, Http::One, web::call(port, PATH, BINARY, headers, &GetJwksRequest {})).await.unwrap()
}

/// Whether the call was admitted. Any failure other than a rate limit fails the test.
fn is_admitted(response: &Received) -> bool {
    let status = response.headers.get("grpc-status").map_or("0", |status| status.to_str().unwrap());
    assert!(response.status == 200 && ["0", "8"].contains(&status), "{response:?}");
    status == "0"
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_one_limit_exactly() {
    let (redis, keys, upstream) = (Redis::start(&[]), make_keys(), serve_message(b"hello".to_vec()).await);
    let limits = "default_rate_requests = 300\ndefault_rate_period = \"1h\"";
    let gateways =
        [gateway(&redis, keys.path(), &upstream, limits).await, gateway(&redis, keys.path(), &upstream, limits).await];
    let ports = [gateways[0].ports.gateway, gateways[1].ports.gateway];
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let port = ports[caller % 2];
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..10 {
                    let call = web::call(port, PATH, BINARY, &[], &GetJwksRequest {});
                    admitted += u32::from(is_admitted(&web::send(port, Http::One, call).await.unwrap()));
                }
                admitted
            })
        })
        .collect();
    let mut admitted = 0;
    for caller in callers {
        admitted += caller.await.unwrap();
    }
    assert_eq!(admitted, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_gateways_with_leases_admit_at_most_one_percent_more() {
    let (redis, keys, upstream) = (Redis::start(&[]), make_keys(), serve_message(b"hello".to_vec()).await);
    // 20 a second and a burst of 100: less than four gateways can forward on any machine. Once empty, the bucket cannot
    // fill up within the test, so that a busy machine that delays all callers loses none of it.
    let limits = "[gateway.rate_limits.overrides.hot]\nmethods = [\"acme.v1.Shop\"]\n\
                  limits = [{ requests = 2000, period = \"100s\", burst = 100, by = \"address\" }]";
    let mut gateways = Vec::new();
    for _ in 0..4 {
        gateways.push(gateway(&redis, keys.path(), &upstream, limits).await);
    }
    let ports: Vec<_> = gateways.iter().map(|gateway| gateway.ports.gateway).collect();
    let started = Instant::now();
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let port = ports[caller % 4];
            tokio::spawn(async move {
                let (mut admitted, mut refused) = (0, 0);
                while started.elapsed() < Duration::from_secs(12) {
                    let call = web::call(port, PATH, BINARY, &[], &GetJwksRequest {});
                    match is_admitted(&web::send(port, Http::One, call).await.unwrap()) {
                        true => admitted += 1,
                        false => refused += 1,
                    }
                }
                (admitted, refused)
            })
        })
        .collect();
    let (mut admitted, mut refused) = (0, 0);
    for caller in callers {
        let (a, r) = caller.await.unwrap();
        (admitted, refused) = (admitted + a, refused + r);
    }
    let took = started.elapsed().as_secs_f64();
    assert!(refused > 0, "{admitted} admitted in {took} s: too few calls to reach the limit");
    // A lease lasts one second: 20 calls.
    let most = 100.0 + 20.0 * (took + 1.0);
    assert!(f64::from(admitted) <= most, "{admitted} of {most} in {took} s");
    assert!(f64::from(admitted) >= 0.8 * (most - 20.0), "{admitted} of {most} in {took} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_that_waits_for_the_retry_delay_is_admitted() {
    let (redis, keys, upstream) = (Redis::start(&[]), make_keys(), serve_message(b"hello".to_vec()).await);
    let limits = "default_rate_requests = 60\ndefault_rate_period = \"1m\"\n\
                  [gateway.rate_limits.overrides.small]\nmethods = [\"acme.v1.Shop\"]\n\
                  limits = [{ requests = 30, period = \"1m\", burst = 2, by = \"address\" }]";
    let gateway = gateway(&redis, keys.path(), &upstream, limits).await;
    let first = call(&gateway, &[]).await;
    assert!(is_admitted(&first));
    assert_eq!(first.header("ratelimit-policy"), "\"address-1m\";q=30;w=60");
    assert_eq!(first.header("ratelimit"), "\"address-1m\";r=1;t=2");
    let refused = loop {
        let response = call(&gateway, &[("origin", PAGE)]).await;
        if !is_admitted(&response) {
            break response;
        }
    };
    assert!(refused.header("ratelimit").starts_with("\"address-1m\";r=0;t="), "{refused:?}");
    assert_eq!(refused.header("ratelimit-policy"), "\"address-1m\";q=30;w=60");
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(refused.header("access-control-expose-headers").contains(name), "{refused:?}");
    }
    let delay: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&delay), "{delay}");
    tokio::time::sleep(Duration::from_secs(delay)).await;
    assert!(is_admitted(&call(&gateway, &[]).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_reloaded_and_api_keys_never_reach_redis() {
    let (redis, keys, upstream) = (Redis::start(&[]), make_keys(), serve_message(b"hello".to_vec()).await);
    let partner = "partner-key-hunter2";
    let hash = kit::limiter::fingerprint(partner.as_bytes()).map(|byte| format!("{byte:02x}")).concat();
    let all = "default_rate_requests = 2\ndefault_rate_period = \"1h\"\n";
    let gateway = gateway(&redis, keys.path(), &upstream, all).await;
    let with_key = [("x-api-key", partner)];
    let admitted = async |headers: &[(&str, &str)], calls: usize| {
        let mut admitted = 0;
        for _ in 0..calls {
            admitted += usize::from(is_admitted(&call(&gateway, headers).await));
        }
        admitted
    };
    assert_eq!(admitted(&with_key, 5).await, 2);
    let partners = format!(
        "{all}[gateway.rate_limits.overrides.partners]\napi_keys = [\"{hash}\"]\n\
         limits = [{{ requests = 4, period = \"1h\", by = \"api_key\" }}]"
    );
    fs::write(gateway.folder().join("trellis.toml"), settings(&upstream, &partners)).unwrap();
    until("the gateway reads the configuration again", async || {
        gateway.log().contains("the configuration was read again")
    })
    .await;
    assert_eq!(admitted(&with_key, 10).await, 4);
    assert_eq!(admitted(&[("x-api-key", "stranger")], 5).await, 0, "an unknown key counts by address");
    let stored = redis.ask(&["KEYS", "*"]);
    assert!(stored.contains("trellis:{limit:acme.v1.Shop}:") && !stored.contains("hunter2"), "{stored}");
    // An invalid configuration changes nothing, and the error names its key.
    let wrong = partners.replace("requests = 4", "requests = 0");
    fs::write(gateway.folder().join("trellis.toml"), settings(&upstream, &wrong)).unwrap();
    let named = "gateway.rate_limits.overrides.partners.limits.requests: must be at least 1";
    until("the log names the key", async || gateway.log().contains(named)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_failure_fails_no_call_and_process_stays_ready() {
    let mut redis = Redis::start(&[]);
    let mesh = Mesh::start(Store::Sqlite, &[("REDIS__URL", &redis.url())]).await;
    let ready = async || web::get(mesh.ports.admin, "/readyz").await.unwrap().status;
    until("the limiter is connected", async || shows(&mesh, "limiter").await == Some(true)).await;
    let ada = mesh.sign_up("ada").await;
    let calls = async || {
        for _ in 0..20 {
            ada.users()
                .get_user(ada.request(proto::users::v1::GetUserRequest { user_id: ada.id().to_owned() }))
                .await
                .unwrap();
        }
    };
    calls().await;
    redis.kill();
    calls().await;
    until("the limiter is disconnected", async || shows(&mesh, "limiter").await == Some(false)).await;
    assert_eq!(ready().await, 200);
    calls().await;
    redis.launch();
    until("the limiter is connected", async || shows(&mesh, "limiter").await == Some(true)).await;
    redis.signal("STOP");
    calls().await;
    redis.signal("CONT");
    until("the limiter is connected", async || shows(&mesh, "limiter").await == Some(true)).await;
    calls().await;
    assert_eq!(ready().await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_of_a_caller_are_refused() {
    let redis = Redis::start(&[]);
    let overrides = "[gateway.rate_limits.overrides.few]\nmethods = [\"trellis.messaging.v1.MessagingService/Subscribe\"]\n\
                     limits = [{ requests = 1000, period = \"1m\" }]\nstreams = 2\n";
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    fs::write(&file, overrides).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.set("REDIS__URL", &redis.url());
    // A late response of Redis on a busy machine would make the gateway decide alone, by its share.
    mesh.set("LIMITER__BUDGET", "1s");
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    until("the limiter is connected", async || shows(&mesh, "limiter").await == Some(true)).await;
    let ada = mesh.sign_up("ada").await;
    let subscribe = async || ada.messaging().subscribe(ada.request(SubscribeRequest::default())).await;
    let mut open = vec![subscribe().await.unwrap(), subscribe().await.unwrap()];
    let refused = subscribe().await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "STREAMS_LIMITED"));
    open.pop();
    until("a stream opens", async || subscribe().await.is_ok()).await;
}

/// The rights that docs/configuration.md lists for Redis's access list.
const RIGHTS: &str = "on >secret ~trellis:{limit:* resetchannels &trellis:{bus}:* +publish +subscribe +eval +evalsha +time \
    +get +set +del +pttl +incrby +decrby +hgetall +hset +hdel +pexpire +role";

#[tokio::test(flavor = "multi_thread")]
async fn redis_user_with_documented_rights_connects_over_tls() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls");
    let [certificate, key, authority] =
        ["server.crt", "server.key", "authority.crt"].map(|name| format!("{folder}/{name}"));
    let port = free_port().to_string();
    let mut arguments = vec!["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    arguments.extend(["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no", "--user", "trellis"]);
    arguments.extend(RIGHTS.split_whitespace());
    let (_redis, keys, upstream) = (Redis::start(&arguments), make_keys(), serve_message(b"hello".to_vec()).await);
    let url = format!("rediss://trellis:secret@localhost:{port}/");
    let limits = "default_rate_requests = 3\ndefault_rate_period = \"1h\"";
    // The path of the system's certificates.
    let trust = |process: &mut Mesh| process.set_elsewhere("SSL_CERT_FILE", &authority);
    let gateways = [
        gateway_by(&url, keys.path(), &upstream, limits, trust).await,
        gateway_by(&url, keys.path(), &upstream, limits, trust).await,
    ];
    let mut admitted = 0;
    for gateway in gateways.iter().cycle().take(8) {
        admitted += u32::from(is_admitted(&call(gateway, &[]).await));
    }
    assert_eq!(admitted, 3, "the gateways share one count");
    for gateway in &gateways {
        until("the bus is connected", async || shows(gateway, "bus").await == Some(true)).await;
        assert!(!gateway.log().contains("secret"));
    }
}
