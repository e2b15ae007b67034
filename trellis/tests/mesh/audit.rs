//! The audit log survives `kill -9`, and the operator's commands list, verify and export it.

use std::process::Output;

use proto::auth::v1::{RevokeAllSessionsRequest, SignInRequest};
use serde_json::Value;

use super::{
    harness::{Mesh, PASSWORD, Store},
    wait::until,
};

fn trellis(mesh: &Mesh, arguments: &[&str]) -> Output {
    mesh.command().args(["audit"]).args(arguments).output().unwrap()
}

fn printed(mesh: &Mesh, arguments: &[&str]) -> String {
    let output = trellis(mesh, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_log_survives_a_kill_and_is_verified() {
    let mut mesh = Mesh::start(Store::Postgres, &[("AUDIT__SEAL_INTERVAL", "1h")]).await;
    let ada = mesh.sign_up("ada").await;
    let sign_in = |password: &str| SignInRequest {
        email: "ada@example.org".to_owned(),
        password: password.to_owned(),
        refresh_delivery: 0,
    };
    ada.auth().sign_in(sign_in(PASSWORD)).await.unwrap();
    mesh.kill();
    assert!(
        printed(&mesh, &["verify", "--service", "auth"]).contains("auth: 0 sealed records"),
        "nothing is sealed yet"
    );

    // The next process seals the records of the killed one.
    mesh.set("AUDIT__SEAL_INTERVAL", "50ms");
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let ada = ada.through(mesh.channel(mesh.ports.gateway).await);
    ada.auth().sign_in(sign_in("wrong password")).await.unwrap_err();
    ada.auth().revoke_all_sessions(ada.request(RevokeAllSessionsRequest { keep_current: true })).await.unwrap();
    until("all records are sealed", async || {
        printed(&mesh, &["verify", "--service", "auth"]).contains("auth: 4 sealed records")
    })
    .await;
    let verified = printed(&mesh, &["verify"]);
    let anchor = verified.lines().find_map(|line| line.strip_prefix("auth: anchor ")).unwrap().to_owned();
    let of_ada = format!("target = \"users/{}*\"", ada.id());
    let listed = printed(&mesh, &["list", "--filter", &of_ada, "--oldest-first", "--service", "auth"]);
    let actions = ["SignUp OK", "SignIn OK", "SignIn UNAUTHENTICATED reason=BAD_CREDENTIALS", "RevokeAllSessions OK"];
    for action in actions {
        assert!(listed.contains(action) && listed.contains("address=127.0.0.1"), "{action}: {listed}");
    }
    assert_eq!(listed.lines().count(), 4, "{listed}");

    let exported = |format| printed(&mesh, &["export", "--service", "auth", "--format", format, "--filter", &of_ada]);
    let read = |text: &str| text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let (plain, events) = (read(&exported("jsonl")), read(&exported("cloudevents")));
    assert_eq!((plain.len(), events.len()), (4, 4));
    assert!(plain.iter().zip(&events).all(|(record, event)| event["data"] == *record));

    printed(&mesh, &["verify", "--anchor", &anchor]);
    let beyond = anchor.replacen("auth:4:", "auth:5:", 1);
    let truncated = trellis(&mesh, &["verify", "--service", "auth", "--anchor", &beyond]);
    assert_eq!(String::from_utf8(truncated.stdout).unwrap(), "", "nothing is said of a log that is not valid");
    let error = String::from_utf8(truncated.stderr).unwrap();
    assert!(!truncated.status.success() && error.contains("auth: record 5: it was removed"), "{error}");
    let refused = trellis(&mesh, &["list", "--filter", "owner = 1"]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("--filter: character 1: there is no field owner"), "{error}");
    assert_eq!(mesh.terminate().code(), Some(0), "{}", mesh.log());
}
