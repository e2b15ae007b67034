//! The admin listener: which programs may change the log level.

use super::{
    harness::{Mesh, Store},
    web,
};

/// Sends a request with exactly these headers to the admin listener. Returns the status and the body.
async fn admin(mesh: &Mesh, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut request = hyper::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(http_body_util::Full::from(body.to_owned())).unwrap();
    let response = web::send(mesh.ports.admin, web::Http::One, request).await.unwrap();
    (response.status, String::from_utf8_lossy(&response.body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_writes_are_accepted_from_local_programs_only() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let put = async |headers: &[(&str, &str)], level: &str| admin(&mesh, "PUT", "/log/level", headers, level).await;
    let local = format!("127.0.0.1:{}", mesh.ports.admin);
    for (headers, status) in [
        (vec![("host", "evil.example")], 421),
        (vec![("host", local.as_str()), ("origin", "http://evil.example")], 403),
        (vec![("host", local.as_str()), ("x-forwarded-for", "192.0.2.1")], 403),
    ] {
        assert_eq!(put(&headers, "error").await.0, status, "{headers:?}");
    }
    let here = [("host", local.as_str())];
    for level in ["waring", "off", "info,off", ""] {
        let (status, output) = put(&here, level).await;
        assert!(status == 400 && output.contains("expected error, warn, info, debug or trace"), "{level}: {output}");
    }
    // The change to the quietest level leaves a line too.
    for level in ["debug", "error", "error,kit=off"] {
        assert_eq!(put(&here, level).await.0, 204);
        let expected = format!("level=\"{level}\" source=\"admin listener\"");
        mesh.until_logged(|line| line.contains("the log level was changed") && line.contains(&expected)).await;
    }
    assert_eq!(admin(&mesh, "GET", "/metrics", &[("host", "evil.example")], "").await.0, 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_writes_can_be_disabled() {
    let mesh = Mesh::start(Store::Sqlite, &[("ADMIN__WRITE", "off"), ("ADMIN__HOSTS", "metrics.example")]).await;
    let send =
        async |method: &str, path: &str| admin(&mesh, method, path, &[("host", "metrics.example")], "debug").await.0;
    assert_eq!((send("PUT", "/log/level").await, send("GET", "/metrics").await), (403, 200));
}
