//! The command line: one clear line for each error, and the right exit status.

use std::{net::TcpListener, os::unix::fs::PermissionsExt as _, process::Output};

use super::harness::{Mesh, Ports, Store};

pub(super) fn run(mesh: &Mesh, arguments: &[&str]) -> Output {
    mesh.command().args(arguments).output().unwrap()
}

/// The one line on standard error of a command that failed.
pub(super) fn error_line(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    let lines: Vec<_> = std::str::from_utf8(&output.stderr).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("trellis: "), "{lines:?}");
    lines[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_exits_with_success() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    // An open stream must not delay the exit.
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
async fn data_and_keys_are_readable_by_their_owner_only() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let mode = |name: &str| {
        let path = mesh.folder().join("trellis").join(name);
        std::fs::metadata(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")).permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    assert_eq!((mode("keys/access.keys"), mode("keys/refresh.key")), (0o600, 0o600));
}

#[tokio::test(flavor = "multi_thread")]
async fn second_process_on_the_same_folder_is_refused() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    for (name, value) in Ports::free().variables() {
        mesh.set(name.strip_prefix("TRELLIS_").unwrap(), &value);
    }
    let line = error_line(&run(&mesh, &[]));
    assert!(line.contains("is in use by another trellis"), "{line}");
}

#[test]
fn port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut mesh = Mesh::new(&[], Ports::free());
    mesh.set("GATEWAY__LISTEN", &taken.local_addr().unwrap().to_string());
    let line = error_line(&run(&mesh, &[]));
    assert!(line.contains("gateway.listen") && line.contains("another program listens on"), "{line}");
}

#[test]
fn configuration_errors_name_the_key() {
    let mesh = Mesh::new(&[], Ports::free());
    let cases = [
        ("gateway.lisen=x", "unknown key gateway.lisen; did you mean gateway.listen?"),
        ("limits.connections=many", "limits.connections"),
        ("limits.header_bytes=10", "limits.header_bytes: 10 is below the minimum of 8192"),
        ("shutdown.grace=5", "shutdown.grace"),
        ("gateway.cors_origins=*", "gateway.cors_origins"),
        ("redis.url=http://cache", "redis.url: expected redis://"),
        ("gateway.stall_timeout=0s", "gateway.stall_timeout: 0ms is below the minimum of 1ms"),
        ("gateway.client_address_header=x-real-ip", "gateway.client_address_header"),
        ("auth.attempts=0", "auth.attempts: 0 is below the minimum of 1"),
        ("auth.attempts_by_address=0", "auth.attempts_by_address: 0 is below the minimum of 1"),
        ("redis.poll_interval=1ms", "redis.poll_interval: 1ms is below the minimum"),
        ("users.database_url=mysql://x", "users.database_url: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("data_dir=/proc/nothing", "the data folder /proc/nothing cannot be used"),
        ("log.level=waring", "log.level: \"waring\" is not a level; expected error, warn, info, debug or trace"),
        ("log.level=info,gateway=debgu", "log.level: \"gateway=debgu\" contains no valid level"),
        ("admin.hosts=metrics:9090", "admin.hosts: \"metrics:9090\" is not a host name"),
        ("limits.introspection_streams=0", "limits.introspection_streams: 0 is below the minimum of 1"),
        ("log.level=off", "log.level: \"off\" would also hide errors"),
        ("identity.trusted.user=key", "identity.trusted.user: expected users, auth, messaging"),
        ("gateway.tls.key=key.pem", "gateway.tls.key has no effect without gateway.tls.listen"),
        ("gateway.tls.hsts=1d", "gateway.tls.hsts has no effect without gateway.tls.listen"),
        ("gateway.client_address_header=forwarded", "gateway.client_address_header has no effect without"),
        ("gateway.header_count=0", "gateway.header_count: 0 is below the minimum of 20"),
        ("log.level=gatway=debug", "log.level: the target \"gatway\" does not exist, did you mean \"gateway\"?"),
        ("auth.session_lifetime=1d", "auth.refresh_lifetime: 30d is above auth.session_lifetime, 1d"),
        ("gateway.proxy_protocol=true", "gateway.proxy_protocol has no effect without gateway.trusted_proxies"),
    ];
    for (setting, expected) in cases {
        let line = error_line(&run(&mesh, &["--set", setting]));
        assert!(line.contains(expected), "{setting}: {line}");
    }
    let line = error_line(&run(&mesh, &["--config", "none.toml"]));
    assert!(line.contains("none.toml"), "{line}");
    let line = error_line(&run(&mesh, &["users"]));
    assert!(line.contains("identity.key_file"), "{line}");
}

/// Asserts that `trellis config --check` and the start of a part refuse the same arguments, with the same line. `mesh`: a
/// start of all parts in one process.
fn is_refused(mesh: &Mesh, part: &str, arguments: &[&str], expected: &str) {
    let start: &[&str] = if part == "mesh" { &[] } else { &[part] };
    let line = error_line(&run(mesh, &[arguments, &["config", "--check"], start].concat()));
    assert!(line.contains(expected) && !line.contains("hunter2"), "{arguments:?}: {line}");
    assert_eq!(error_line(&run(mesh, &[arguments, start].concat())), line, "{arguments:?}");
}

#[test]
fn config_checks_external_upstreams_as_the_start_does() {
    let mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let cases = [
        ("[gateway.external.\"trellis.foo\"]\nto = \"http://127.0.0.1:1\"", "trellis.* is served by Trellis itself"),
        (
            "[gateway.external.\"acme\"]\nto = \"shop:80\"",
            "gateway.external.\"acme\".to: \"shop:80\" is not an address",
        ),
        ("[gateway.external.\"acme\"]\naccess = \"public\"", "gateway.external.\"acme\".to: is empty"),
        (
            "[gateway.external.\"acme\"]\nto = \"http://127.0.0.1:1\"\ntoken_audience = \"messaging\"",
            "\"messaging\" is a name of the mesh's own",
        ),
    ];
    for (text, expected) in cases {
        std::fs::write(&file, text).unwrap();
        for part in ["mesh", "gateway"] {
            is_refused(&mesh, part, &["--config", file.to_str().unwrap()], expected);
        }
    }
}

#[test]
fn config_checks_what_the_start_checks() {
    let mesh = Mesh::new(&[], Ports::free());
    let path = |name: &str| mesh.folder().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("empty.pem"), "").unwrap();
    let (none, empty) = (path("none"), path("empty.pem"));
    let cases = [
        ("mesh", "gateway.trusted_proxies=10.0.0", "gateway.trusted_proxies"),
        ("mesh", "gateway.cors_origins=*", "gateway.cors_origins"),
        ("gateway", "gateway.tls.listen=localhost:0", "gateway.tls.certificate"),
        ("mesh", "users.database_url=mysql://u:hunter2@db/x", "users.database_url: expected postgres://"),
        ("users", "users.listen=localhost", "users.listen: \"localhost\" is not a valid host:port"),
        ("mesh", "auth.listen=127.0.0.1:99999", "auth.listen: \"127.0.0.1:99999\" is not a valid host:port"),
        ("gateway", "gateway.listen=127.0.0.1:0,:80", "gateway.listen: \":80\" is not a valid host:port"),
        ("mesh", "gateway.tls.listen=x", "gateway.tls.listen: \"x\" is not a valid host:port"),
        ("auth", "admin.listen=9090", "admin.listen: \"9090\" is not a valid host:port"),
        ("mesh", "trace.endpoint=collector:4317", "trace.endpoint: \"collector:4317\" is not an address such as"),
        ("users", "trace.endpoint=https://c:4317", "trace.endpoint: \"https://c:4317\" is not an address such as"),
        ("mesh", "trace.endpoint=http://c:99999", "trace.endpoint: \"http://c:99999\" is not an address such as"),
        ("auth", "peers.users=http://127.0.0.1:0", "peers.users: \"http://127.0.0.1:0\" is not an address such as"),
        ("mesh", "gateway.cors_origins=https://x:99999", "gateway.cors_origins: \"https://x:99999\" is not an origin"),
        ("mesh", "trace.endpoint=http://", "trace.endpoint: \"http://\" is not an address such as"),
        ("mesh", &format!("tls.ca={none}"), "tls.ca: "),
        ("users", &format!("tls.ca={empty}"), "tls.ca: "),
        ("auth", &format!("tls.certificate={none}"), "tls.certificate: "),
        ("gateway", &format!("tls.client_ca={none}"), "tls.client_ca has no effect without tls.certificate"),
        ("auth", "peers.users=users:7001", "peers.users: \"users:7001\" is not an address such as"),
        ("auth", "peers.users=http://users:7001", "peers.users (users:7001): use https://"),
        ("users", "users.listen=0.0.0.0:7001", "users.listen (0.0.0.0:7001): listen on 127.0.0.1"),
        ("mesh", "redis.url=redis://cache", "redis.url (cache): use rediss://"),
        ("users", "identity.trusted.auth=hunter2", "identity.trusted.auth: the public key of auth is not"),
        ("users", &format!("identity.trusted_dir={none}"), "identity.trusted_dir: "),
        ("users", "users.listen=::1:7001", "users.listen: \"::1:7001\" is not a valid host:port"),
        ("users", "users.listen=127.0.0.1 :80", "users.listen: \"127.0.0.1 :80\" is not a valid host:port"),
        ("mesh", &format!("tls.certificate={none}"), "tls.certificate: all parts run in this process"),
    ];
    for (part, setting, expected) in cases {
        is_refused(&mesh, part, &["--set", setting], expected);
    }
}

/// A process ignores the settings of other processes, which may share its file.
#[test]
fn config_accepts_what_the_start_of_the_part_accepts() {
    let mesh = Mesh::new(&[], Ports::free());
    let cases = [
        ("mesh", "identity.trusted.auth=hunter2"),
        ("mesh", "identity.trusted_dir=/none"),
        ("gateway", "users.listen=localhost"),
        ("users", "peers.users=users:7001"),
        ("users", "gateway.trusted_proxies=10.0.0"),
    ];
    for (part, setting) in cases {
        let start: &[&str] = if part == "mesh" { &[] } else { &[part] };
        let checked = run(&mesh, &[&["--set", setting, "config", "--check"], start].concat());
        let text = String::from_utf8(checked.stdout).unwrap();
        assert!(checked.status.success() && text.ends_with(" were not checked\n"), "{setting}: {text}");
        if part != "mesh" {
            // The start goes on to the private key, which is missing.
            let error = String::from_utf8(run(&mesh, &["--set", setting, part]).stderr).unwrap();
            let line = error.lines().last().unwrap();
            assert!(line.starts_with("trellis: identity.key_file is not set"), "{setting}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_start_ignores_the_keys_of_other_services() {
    let mut mesh = Mesh::new(&["--set", "identity.trusted.auth=hunter2"], Ports::free());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    assert_eq!(mesh.terminate().code(), Some(0), "{}", mesh.log());
}

/// The files of a pod are not on the machine of the operator.
#[test]
fn config_prints_although_files_are_missing() {
    let mesh = Mesh::new(&[], Ports::free());
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/base/config.toml");
    let printed = run(&mesh, &["--config", base, "config"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success() && text.contains("trusted_dir = \"/run/trellis/trusted\""), "{text}");
    let line = error_line(&run(&mesh, &["--config", base, "config", "--check", "users"]));
    assert!(line.contains("identity.trusted_dir: "), "{line}");
}

#[test]
fn level_typo_in_the_environment_is_refused() {
    let mut mesh = Mesh::new(&[], Ports::free());
    mesh.set("LOG__LEVEL", "waring");
    let line = error_line(&run(&mesh, &["config"]));
    assert!(line.contains("log.level: \"waring\" is not a level; expected error, warn"), "{line}");
}

#[test]
fn override_of_a_missing_method_is_refused_at_start() {
    let mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let with = |upstream: &str, method: &str| {
        let text = format!(
            "[gateway.external.\"acme.v1.Shop\"]\nto = \"http://127.0.0.1:1\"\naccess = \"public\"\n{upstream}\n\
             [gateway.rate_limits.overrides.mine]\nmethods = [\"{method}\"]\n\
             limits = [{{ requests = 1, period = \"1s\" }}]\n"
        );
        std::fs::write(&file, text).unwrap();
        error_line(&run(&mesh, &["--config", file.to_str().unwrap()]))
    };
    let key = "gateway.rate_limits.overrides.mine.methods: ";
    let line = with("", "acme.v1.Shop/Read");
    assert!(line.contains(key) && line.contains("which has no descriptors"), "{line}");
    let line = with("", "acme.bank");
    assert!(line.contains(key) && line.contains("is not a method or service that clients may call"), "{line}");
    let set = mesh.folder().join("shop.binpb");
    std::fs::write(&set, super::faulty_upstream::descriptors()).unwrap();
    let line = with(&format!("descriptors = {set:?}"), "acme.v1.Shop/Remove");
    assert!(line.contains(key) && line.contains("declare no \"acme.v1.Shop/Remove\""), "{line}");
}

#[test]
fn policy_shows_external_methods() {
    let mesh = Mesh::new(&[], Ports::free());
    let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.binpb"));
    std::fs::write(&set, super::faulty_upstream::descriptors()).unwrap();
    let text = format!(
        "[gateway.external.\"acme.v1.Shop\"]\nto = \"http://127.0.0.1:1\"\naccess = \"signed_in\"\ndescriptors = {set:?}\n\
         [gateway.external.\"acme.bank\"]\nto = \"http://127.0.0.1:1\"\naccess = \"public\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = run(&mesh, &["--config", file.to_str().unwrap(), "policy"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let block = |path: &str| {
        let (_, rest) = text.split_once(&format!("{path}\n")).unwrap_or_else(|| panic!("no {path} in {text}"));
        rest.lines().take_while(|line| line.starts_with(' ')).collect::<Vec<_>>().join("\n")
    };
    let shop = block("/acme.v1.Shop/Read");
    assert!(shop.contains("signed in") && shop.contains("gateway.external.\"acme.v1.Shop\".access"), "{shop}");
    assert!(shop.contains("rate limit") && shop.contains("gateway.default_rate_requests"), "{shop}");
    assert!(block("/acme.bank.*").contains("public"));
}

#[test]
fn reader_that_stops_early_is_no_error() {
    let mesh = Mesh::new(&[], Ports::free());
    for arguments in [&["config"][..], &["policy"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Writes fail from now on, as after `head` has ended.
        drop(reader);
        let output = mesh.command().args(arguments).stdout(writer).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_format_has_no_plain_text_banner() {
    let mut mesh = Mesh::new(&[], Ports::free());
    mesh.set("LOG__FORMAT", "json");
    mesh.launch_with_output();
    mesh.ready(mesh.ports.gateway).await;
    let is_ready = |line: &str| line.contains("trellis is ready") && line.contains("gateway.address");
    mesh.until_logged(is_ready).await;
    for line in mesh.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
    }
    assert_eq!(mesh.terminate().code(), Some(0));
    assert_eq!(mesh.output(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_without_effect_is_logged_with_its_key() {
    let mut mesh = Mesh::new(&["--set", "peers.users=http://127.0.0.1:1"], Ports::free());
    mesh.launch();
    mesh.until_logged(|line| line.contains("no effect in this process") && line.contains("peers.users")).await;
}

#[test]
fn secrets_are_masked() {
    let mut mesh = Mesh::new(&["config"], Ports::free());
    mesh.set("USERS__DATABASE_URL", "postgres://u:hunter2@db/x");
    let output = run(&mesh, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("[gateway]") && !text.contains("hunter2"), "{text}");
}

#[test]
fn config_shows_the_values_that_defaults_resolve_to() {
    let printed = |settings: &[(&str, &str)]| {
        let mut mesh = Mesh::new(&["config"], Ports::free());
        for (key, value) in settings {
            mesh.set(key, value);
        }
        String::from_utf8(run(&mesh, &[]).stdout).unwrap()
    };
    let open = printed(&[]);
    let why = open.lines().find(|line| line.starts_with('#')).unwrap_or_default();
    assert!(why.contains("\"all\"") && why.contains("`trellis users`"), "{open}");
    assert!(open.contains(&format!("{why}\ndirectory = \"auto\"\n")), "{open}");
    let chosen = printed(&[("USERS__DIRECTORY", "contacts")]);
    assert!(chosen.contains("\ndirectory = \"contacts\"\n") && !chosen.contains('#'), "{chosen}");
    let folder = open.lines().next().unwrap_or_default().to_owned();
    assert!(folder.starts_with("data_dir = \"/") && folder.ends_with("/trellis\""), "the resolved folder: {folder}");
}

#[test]
fn file_in_place_of_a_folder_is_named() {
    let mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("file");
    std::fs::write(&file, "").unwrap();
    let path = file.to_str().unwrap();
    let set = format!("data_dir={path}");
    for arguments in
        [&["--set", &set][..], &["keys", "auth", "--out", path], &["keys", "new", "--name", "users", "--out", path]]
    {
        let line = error_line(&run(&mesh, arguments));
        assert!(line.contains(path) && line.contains("is a file, not a folder"), "{arguments:?}: {line}");
    }
}

#[test]
fn keys_and_shell_completions_are_generated() {
    let mesh = Mesh::new(&[], Ports::free());
    let out = mesh.folder().join("identity");
    let new = ["keys", "new", "--name", "users", "--out", out.to_str().unwrap()];
    assert!(run(&mesh, &new).status.success());
    assert_eq!(std::fs::metadata(out.join("users.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let line = error_line(&run(&mesh, &new));
    assert!(line.contains("users.key exists already and is not overwritten"), "{line}");
    let auth = run(&mesh, &["keys", "auth", "--out", mesh.folder().join("auth").to_str().unwrap()]);
    assert!(String::from_utf8(auth.stdout).unwrap().contains("secret: give it only to auth (auth.keys_dir)"));
    let script = run(&mesh, &["completions", "bash"]);
    assert!(script.status.success() && !script.stdout.is_empty());
}

#[test]
fn keys_command_without_keys_names_the_flag_dir() {
    let mesh = Mesh::new(&[], Ports::free());
    for command in ["list", "rotate", "replace"] {
        let line = error_line(&run(&mesh, &["keys", command]));
        assert!(line.contains("access.keys") && line.contains("--dir keys/auth"), "{command}: {line}");
    }
    let folder = mesh.folder().join("none");
    let line = error_line(&run(&mesh, &["keys", "list", "--dir", folder.to_str().unwrap()]));
    assert!(line.contains(&format!("`trellis keys auth --out {}`", folder.display())), "{line}");
}

#[test]
fn jobs_command_without_data_names_its_settings() {
    let mesh = Mesh::new(&[], Ports::free());
    let line = error_line(&run(&mesh, &["jobs", "list"]));
    assert!(line.contains("auth.db does not exist") && line.contains("--set data_dir=DIR"), "{line}");
    assert!(line.contains("auth.database_url"), "{line}");
}

#[test]
fn cleartext_beyond_the_loopback_is_refused_unless_allowed() {
    let mut mesh = Mesh::new(&[], Ports::free());
    mesh.set("REDIS__URL", "redis://user:hunter2@192.0.2.1:6379/");
    let line = error_line(&run(&mesh, &[]));
    assert!(line.contains("redis.url (192.0.2.1): use rediss://") && line.contains("tls.insecure"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}
