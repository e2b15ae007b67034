//! What an operator sees: one clear line, and the right exit status.

use std::{net::TcpListener, os::unix::fs::PermissionsExt as _, process::Output};

use super::harness::{Mesh, Ports, Store};

fn run(mesh: &Mesh, arguments: &[&str]) -> Output {
    mesh.command().args(arguments).output().unwrap()
}

/// The one line on standard error of a command that failed.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    let lines: Vec<_> = std::str::from_utf8(&output.stderr).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("trellis: "), "{lines:?}");
    lines[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_ends_well() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    // An open stream must not hold the process up.
    let subscribed = ada.messaging().subscribe(ada.request(Default::default())).await.unwrap();
    assert_eq!(mesh.terminate().code(), Some(0));
    let mut stream = subscribed.into_inner();
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_eq!(super::harness::reason(&end.unwrap_err()), "SERVER_STOPPING");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_keys_are_the_owners_only() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let mode = |name: &str| {
        let path = mesh.folder().join("trellis").join(name);
        std::fs::metadata(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")).permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    assert_eq!((mode("keys/access.keys"), mode("keys/refresh.key")), (0o600, 0o600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_refused() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    for (name, value) in Ports::free().variables() {
        mesh.set(name.strip_prefix("TRELLIS_").unwrap(), &value);
    }
    let line = complaint(&run(&mesh, &[]));
    assert!(line.contains("is in use by another trellis"), "{line}");
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut mesh = Mesh::new(&[], Ports::free());
    mesh.set("GATEWAY__LISTEN", &taken.local_addr().unwrap().to_string());
    let line = complaint(&run(&mesh, &[]));
    assert!(line.contains("gateway.listen") && line.contains("is taken"), "{line}");
}

#[test]
fn mistakes_in_the_configuration_name_the_key() {
    let mesh = Mesh::new(&[], Ports::free());
    let cases = [
        ("gateway.lisen=x", "unknown key gateway.lisen"),
        ("limits.connections=many", "limits.connections"),
        ("limits.header_bytes=10", "limits.header_bytes: 10 is below the least"),
        ("shutdown.grace=5", "shutdown.grace"),
        ("gateway.cors_origins=*", "gateway.cors_origins"),
        ("redis.url=http://cache", "redis.url: expected redis://"),
        ("gateway.stall_timeout=0s", "gateway.stall_timeout: 0s is too short"),
        ("gateway.client_address_header=x-real-ip", "gateway.client_address_header"),
        ("auth.attempts=0", "auth.attempts: 0 is below the least"),
        ("auth.attempts_by_address=0", "auth.attempts_by_address: 0 is below the least"),
        ("redis.poll_interval=1ms", "redis.poll_interval: 1ms is below the least"),
        ("users.database_url=mysql://x", "users.database_url"),
        ("users.database_url=postgres://u@127.0.0.1:1/none", "cannot be reached (users.database_url)"),
        ("data_dir=/proc/nothing", "the data folder /proc/nothing cannot be used"),
    ];
    for (setting, expected) in cases {
        let line = complaint(&run(&mesh, &["--set", setting]));
        assert!(line.contains(expected), "{setting}: {line}");
    }
    let line = complaint(&run(&mesh, &["--config", "none.toml"]));
    assert!(line.contains("none.toml"), "{line}");
    let line = complaint(&run(&mesh, &["users"]));
    assert!(line.contains("identity.key_file"), "{line}");
}

#[test]
fn secrets_are_masked() {
    let mut mesh = Mesh::new(&["config"], Ports::free());
    mesh.set("USERS__DATABASE_URL", "postgres://u:hunter2@db/x");
    let output = run(&mesh, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("[gateway]") && !text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    assert_eq!(mesh.terminate().code(), Some(0));
    let file = mesh.folder().join("trellis/users.db");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, x'00', 0)";
    let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query(newer).execute(&pool).await.unwrap();
    pool.close().await;
    let line = complaint(&run(&mesh, &[]));
    assert!(line.contains("is newer than this program") && line.contains("9999"), "{line}");
}

#[test]
fn keys_and_completions_are_made() {
    let mesh = Mesh::new(&[], Ports::free());
    let out = mesh.folder().join("identity");
    let new = ["keys", "new", "--name", "users", "--out", out.to_str().unwrap()];
    assert!(run(&mesh, &new).status.success());
    assert_eq!(std::fs::metadata(out.join("users.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let line = complaint(&run(&mesh, &new));
    assert!(line.contains("users.key"), "an existing key is not overwritten: {line}");
    let script = run(&mesh, &["completions", "bash"]);
    assert!(script.status.success() && !script.stdout.is_empty());
}

#[test]
fn cleartext_beyond_the_loopback_is_refused_unless_allowed() {
    let mut mesh = Mesh::new(&[], Ports::free());
    mesh.set("REDIS__URL", "redis://user:hunter2@192.0.2.1:6379/");
    let line = complaint(&run(&mesh, &[]));
    assert!(line.contains("redis.url (192.0.2.1): use rediss://") && line.contains("tls.insecure"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}
