//! The commands of the operator about accounts and their passwords, beside a running mesh.

use std::{fs, process::Output};

use proto::{
    auth::v1::{SignInRequest, auth_service_client::AuthServiceClient},
    users::v1::GetUserRequest,
};

use super::{
    harness::{Mesh, PASSWORD, Person, Store},
    wait::until,
};

/// The hash of "grüner Apfel 1" by the C library's crypt.
const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu";

fn trellis(mesh: &Mesh, arguments: &[&str]) -> Output {
    mesh.command().args(arguments).output().unwrap()
}

/// The output and the errors of a command.
fn printed(output: Output) -> (bool, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

async fn sign_in(mesh: &Mesh, handle: &str, password: &str) -> Option<Person> {
    let channel = mesh.channel(mesh.ports.gateway).await;
    let (email, password) = (format!("{handle}@example.org"), password.to_owned());
    let request = SignInRequest { email, password, ..SignInRequest::default() };
    let response = AuthServiceClient::new(channel.clone()).sign_in(request).await;
    response.ok().map(|response| Person::new(channel, response.into_inner().tokens.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_imported_beside_a_running_mesh() {
    let mesh = Mesh::start(Store::Sqlite, &[("JOBS__POLL_INTERVAL", "100ms")]).await;
    let file = mesh.folder().join("accounts.jsonl");
    let lines = format!(
        "{{\"email\": \"ada@example.org\", \"hash\": \"{BCRYPT}\", \"handle\": \"ada\", \"display_name\": \"Ada\"}}\n\
         {{\"email\": \"bob@example.org\", \"hash\": \"none\"}}\n"
    );
    fs::write(&file, lines).unwrap();
    let import =
        |more: &[&str]| printed(trellis(&mesh, &[&["accounts", "import", file.to_str().unwrap()], more].concat()));
    let (success, out, error) = import(&["--dry-run"]);
    assert!(!success && out.contains("line 2: hash: is of no known format"), "{out}");
    assert!(out.contains("2 lines: 1 would be imported, 0 already present, 1 bad"), "{out}");
    assert!(error.contains("1 line was not imported"), "{error}");
    assert!(sign_in(&mesh, "ada", "gr\u{fc}ner Apfel 1").await.is_none());
    for expected in [r#""imported":1,"lines":2,"present":0"#, r#""imported":0,"lines":2,"present":1"#] {
        let (success, out, _) = import(&["--json"]);
        assert!(!success && out.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{out}");
        assert!(out.contains(r#""field":"hash""#) && out.contains(expected), "{out}");
    }
    let ada = sign_in(&mesh, "ada", "gr\u{fc}ner Apfel 1").await.unwrap();
    until("the profile exists", async || {
        let found = ada.users().get_user(ada.request(GetUserRequest { user_id: ada.id().to_owned() })).await;
        found.is_ok_and(|response| response.into_inner().user.unwrap().handle == "ada")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pepper_is_rotated_and_removed_by_the_operator() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    mesh.sign_up("ada").await;
    let run = |arguments: &[&str]| printed(trellis(&mesh, &[&["keys"], arguments].concat()));
    let listed = || {
        let (success, out, error) = run(&["peppers"]);
        assert!(success, "{error}");
        out
    };
    let reloaded = async |times| {
        let is_logged = async || mesh.log().matches("the peppers were reloaded").count() == times;
        until("the process has loaded the peppers", is_logged).await;
    };
    assert_eq!(listed(), "without a pepper: 1 hash\n");
    let (success, out, error) = run(&["pepper"]);
    assert!(success && out.contains("is next: it enters no hash yet"), "{out}{error}");
    reloaded(1).await;
    let first = out.split_whitespace().nth(1).unwrap().to_owned();
    let (success, _, error) = run(&["pepper"]);
    assert!(!success && error.contains("run this again in"), "{error}");
    let (success, out, error) = run(&["pepper", "--now"]);
    assert!(success && out.contains(&format!("pepper {first} is current")), "{out}{error}");
    // The process reads the file within two seconds.
    reloaded(2).await;
    sign_in(&mesh, "ada", PASSWORD).await.unwrap();
    let text = listed();
    assert!(text.contains(&format!("current  {first}  for ")) && text.contains("without a pepper: 0 hashes"), "{text}");
    let (success, _, error) = run(&["remove-pepper", &first, "--now"]);
    assert!(!success && error.contains("was not removed: 1 hash needs it"), "{error}");
    assert!(run(&["pepper", "--now"]).0);
    let (success, _, error) = run(&["remove-pepper", &first, "--now"]);
    assert!(!success && error.contains("1 hash needs it"), "{error}");
    reloaded(3).await;
    sign_in(&mesh, "ada", PASSWORD).await.unwrap();
    let text = listed();
    let old = format!("old      {first}");
    assert!(text.lines().any(|line| line.starts_with(&old) && line.ends_with("  0 hashes")), "{text}");
    let (success, _, error) = run(&["remove-pepper", &first]);
    assert!(!success && error.contains("run this again in"), "{error}");
    assert!(run(&["remove-pepper", &first, "--now"]).0);
    assert!(!listed().contains(&first));
    sign_in(&mesh, "ada", PASSWORD).await.unwrap();
}
