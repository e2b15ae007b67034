//! `trellis admin`: an admin administers accounts on the command line.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    process::{Output, Stdio},
};

use proto::messaging::v1::ListConversationsRequest;
use serde_json::Value;

use super::{
    harness::{Mesh, PASSWORD, Person, Store, reason},
    wait::until,
};

/// Runs a command as an admin with an access token: sign-ins to one account are limited.
fn run(mesh: &Mesh, arguments: &[&str]) -> Output {
    let token = mesh.folder().join("token");
    mesh.command().args(["admin", "--token-file", token.to_str().unwrap()]).args(arguments).output().unwrap()
}

/// Runs a command as a user who signs in with the password on standard input.
fn signed_in(mesh: &Mesh, user: &str, arguments: &[&str]) -> Output {
    let mut command = mesh.command();
    command.args(["admin", "--admin", user]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    child.wait_with_output().unwrap()
}

/// Stores the access token of an admin where [`run`] reads it.
fn store_token(mesh: &Mesh, admin: &Person) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(mesh.folder().join("token"));
    file.unwrap().write_all(admin.tokens.access_token.as_bytes()).unwrap();
}

fn printed(mesh: &Mesh, arguments: &[&str]) -> String {
    let output = run(mesh, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(mesh: &Mesh, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(mesh, &[arguments, &["--json"]].concat())).unwrap()
}

fn refused(output: Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Whether the session of the user has ended.
async fn is_ended(person: &Person) -> bool {
    let list = person.messaging().list_conversations(person.request(ListConversationsRequest::default())).await;
    list.is_err_and(|status| reason(&status) == "SESSION_REVOKED")
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_administers_accounts_on_the_command_line() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    assert!(refused(signed_in(&mesh, "bob@example.org", &["users"])).contains("ROLE_REQUIRED"));
    store_token(&mesh, &mesh.make_admin(&ada).await);
    assert!(signed_in(&mesh, "ada@example.org", &["users"]).status.success());

    let users = json(&mesh, &["users", "--limit", "1"]);
    assert_eq!((users.as_array().unwrap().len(), &users[0]["email"]), (1, &"bob@example.org".into()));
    let all = printed(&mesh, &["users", "--state", "active"]);
    assert!(all.lines().count() == 2 && all.contains("email=ada@example.org"), "{all}");
    assert_eq!(printed(&mesh, &["users", "--role", "support"]).trim(), "none");
    // By id or by address.
    assert_eq!(json(&mesh, &["grant", bob.id(), "support"])[0]["roles"], serde_json::json!(["support"]));
    assert!(printed(&mesh, &["show", "bob@example.org"]).contains("active roles=support"));
    assert!(refused(run(&mesh, &["grant", "bob@example.org", "root"])).contains("ROLE_UNKNOWN"));
    let nobody = refused(run(&mesh, &["show", "eve@example.org"]));
    assert!(nobody.contains("no account has the address eve@example.org"), "{nobody}");

    let sessions = json(&mesh, &["sessions", "bob@example.org"]);
    assert_eq!(sessions[0]["session_id"], bob.tokens.session_id.as_str());
    let end = ["end-sessions", "bob@example.org", "--session", &bob.tokens.session_id];
    assert_eq!(json(&mesh, &end)["ended_count"], 1);
    until("the session has ended", async || is_ended(&bob).await).await;
    let again = mesh.sign_in("bob").await;
    assert!(refused(run(&mesh, &["end-sessions", "bob@example.org"])).contains("--session"));
    assert_eq!(printed(&mesh, &["end-sessions", "bob@example.org", "--all"]).trim(), "1 session ended");
    until("the session has ended", async || is_ended(&again).await).await;
    assert_eq!(json(&mesh, &["revoke", "bob@example.org", "support"])[0]["roles"], serde_json::json!([]));

    assert_eq!(json(&mesh, &["suspend", "bob@example.org"])[0]["state"], "suspended");
    assert!(refused(run(&mesh, &["suspend", "ada@example.org"])).contains("LAST_ADMIN"));
    assert_eq!(json(&mesh, &["restore", "bob@example.org"])[0]["state"], "active");
    let sent = printed(&mesh, &["reset", bob.id()]);
    assert!(sent.contains("a link to set a new password will be sent to bob@example.org"), "{sent}");

    // The calls are recorded, and the session of the command that signed in has ended.
    let filter = format!("principal = \"{}\" AND action:SuspendAccount AND code = OK", ada.id());
    let records = json(&mesh, &["audit", "--service", "auth", "--filter", &filter]);
    assert_eq!(records[0]["target"], format!("users/{}", bob.id()), "{records}");
    let open = json(&mesh, &["sessions", "ada@example.org"]);
    assert_eq!(open.as_array().unwrap().len(), 1, "that of the sign-up");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_commands_take_a_token_and_stay_on_the_machine() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    store_token(&mesh, &mesh.make_admin(&mesh.sign_up("ada").await).await);
    let with_token = |more: &[&str]| run(&mesh, &[&["users"], more].concat());
    let output = with_token(&[]);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("ada@example.org"),
        "{output:?}"
    );
    let away = refused(with_token(&["--gateway", "https://chat.example.org"]));
    assert!(away.contains("is not http on this machine"), "{away}");
    let closed = refused(with_token(&["--gateway", "http://127.0.0.1:1"]));
    assert!(closed.contains("http://127.0.0.1:1 cannot be reached"), "{closed}");
    let unnamed = refused(mesh.command().args(["admin", "users"]).output().unwrap());
    assert!(unnamed.contains("--admin"), "{unnamed}");
    // Other users could read the token.
    fs::set_permissions(mesh.folder().join("token"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refused(with_token(&[])).contains("token"), "the file is refused");
}
