//! The audit log of auth, written by real calls.

use std::time::Duration;

use kit::keyring::Keyring;
use kit_data::{
    audit::{ListedRecord, Reader, RecordQuery},
    store::Location,
};
use proto::auth::v1::{
    ChangePasswordRequest, DeleteAccountRequest, RefreshTokenRequest, RevokeAllSessionsRequest, RevokeSessionRequest,
    SignOutRequest, Tokens,
};

use crate::{
    databases::on_both,
    mesh::{Mesh, PASSWORD, by, eventually, reason, sign_in},
    messaging::Messaging,
};

on_both!(
    changes_of_an_account_are_recorded,
    failed_attempts_are_recorded,
    reuse_of_a_refresh_token_is_recorded,
    deletion_of_an_account_erases_its_personal_fields,
);

const NEW: &str = "another good password";
const ADDRESS: &str = "192.0.2.7";

/// The records that match, the oldest first.
pub(crate) async fn list(location: &Location, filter: &str) -> Vec<ListedRecord> {
    let mut reader = Reader::connect(location, "auth", Keyring::default()).await.unwrap();
    reader.list(&RecordQuery::new(filter, false, 100).unwrap()).await.unwrap()
}

/// The method and the target below the account.
fn actions(records: &[ListedRecord], user: &str) -> Vec<(String, String)> {
    let method = |action: &str| action.rsplit('/').next().unwrap_or_default().to_owned();
    let below = |target: &str| target.replace(&format!("users/{user}"), "U");
    records.iter().map(|record| (method(&record.facts.action), below(&record.facts.target))).collect()
}

/// Records of one instant have no order.
fn tick(mesh: &Mesh) {
    mesh.clock.advance(Duration::from_millis(1));
}

async fn changes_of_an_account_are_recorded(location: &Location) {
    let mut mesh = Mesh::on(location, Messaging::new(0)).await;
    let first = mesh.signed_up("ada").await;
    tick(&mesh);
    let request = mesh.on_behalf_of(ADDRESS, sign_in("ada", PASSWORD));
    let second = mesh.auth.sign_in(request).await.unwrap().into_inner().tokens.unwrap();
    tick(&mesh);
    let third = mesh.signed_in("ada", PASSWORD).await.unwrap();
    tick(&mesh);
    let (user, id) = (&first.user_id, |tokens: &Tokens| tokens.session_id.clone());
    let revoke = RevokeSessionRequest { session_id: id(&first) };
    mesh.auth.revoke_session(by(&second, revoke)).await.unwrap();
    tick(&mesh);
    mesh.auth.sign_out(SignOutRequest { refresh_token: third.refresh_token.clone() }).await.unwrap();
    mesh.auth.sign_out(SignOutRequest { refresh_token: "unknown".to_owned() }).await.unwrap();
    tick(&mesh);
    let change = ChangePasswordRequest { current_password: PASSWORD.to_owned(), new_password: NEW.to_owned() };
    mesh.auth.change_password(by(&second, change)).await.unwrap();
    tick(&mesh);
    let refresh = RefreshTokenRequest { refresh_token: second.refresh_token.clone() };
    mesh.auth.refresh_token(refresh).await.unwrap();
    mesh.auth.revoke_all_sessions(by(&second, RevokeAllSessionsRequest { keep_current: true })).await.unwrap();

    let records = list(location, "code = OK").await;
    let session = |tokens: &Tokens| format!("U/sessions/{}", id(tokens));
    let expected = [
        ("SignUp", session(&first)),
        ("SignIn", session(&second)),
        ("SignIn", session(&third)),
        ("RevokeSession", session(&first)),
        ("SignOut", session(&third)),
        ("ChangePassword", "U".to_owned()),
        ("RevokeAllSessions", "U".to_owned()),
    ];
    assert_eq!(actions(&records, user), expected.map(|(method, target)| (method.to_owned(), target)));
    for (record, by) in records.iter().zip([&first, &second, &third, &second, &third, &second, &second]) {
        let facts = &record.facts;
        assert_eq!((&facts.principal, &facts.session), (user, &by.session_id), "{facts:?}");
        assert_eq!((facts.principal_kind.as_str(), facts.trace_id.len()), ("user", 32));
    }
    let personal = records[1].personal.clone().unwrap();
    assert_eq!((personal.address.as_str(), records[1].facts.peer.as_str()), (ADDRESS, "gateway"));
    assert!(personal.user_agent.starts_with("tester/1.0"), "{}", personal.user_agent);
}

async fn failed_attempts_are_recorded(location: &Location) {
    let mut mesh = Mesh::on(location, Messaging::new(0)).await;
    let tokens = mesh.signed_up("ada").await;
    for (handle, times) in [("ada", 3), ("unknown", 2)] {
        for _ in 0..times {
            let request = mesh.on_behalf_of(ADDRESS, sign_in(handle, "wrong password"));
            assert_eq!(reason(&mesh.auth.sign_in(request).await.unwrap_err()), "BAD_CREDENTIALS");
        }
    }
    let change = ChangePasswordRequest { current_password: "wrong".to_owned(), new_password: NEW.to_owned() };
    mesh.auth.change_password(by(&tokens, change)).await.unwrap_err();
    let filter = "reason = BAD_CREDENTIALS";
    let calls = async || list(location, filter).await.iter().map(|record| record.facts.calls).sum::<i64>();
    eventually("all attempts are stored", async || calls().await == 6).await;
    let of = |target: &str| format!("{filter} AND action:SignIn AND target = \"{target}\"");
    let of_ada = list(location, &of(&format!("users/{}", tokens.user_id))).await;
    assert_eq!(of_ada.iter().map(|record| record.facts.calls).sum::<i64>(), 3);
    let facts = &of_ada[0].facts;
    assert_eq!((facts.principal_kind.as_str(), facts.principal.as_str()), ("anonymous", ""), "nothing is proved");
    assert_eq!(of_ada[0].personal.clone().unwrap().address, ADDRESS);
    assert_eq!(list(location, &of("")).await.iter().map(|record| record.facts.calls).sum::<i64>(), 2);
}

async fn reuse_of_a_refresh_token_is_recorded(location: &Location) {
    let mut mesh = Mesh::on(location, Messaging::new(0)).await;
    let tokens = mesh.signed_up("ada").await;
    let mut token = tokens.refresh_token.clone();
    for _ in 0..2 {
        let request = RefreshTokenRequest { refresh_token: token };
        token = mesh.auth.refresh_token(request).await.unwrap().into_inner().tokens.unwrap().refresh_token;
    }
    let old = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
    assert_eq!(reason(&mesh.auth.refresh_token(old).await.unwrap_err()), "REFRESH_TOKEN_REUSED");
    let records = list(location, "action:RefreshToken").await;
    let [reuse] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(reuse.facts.target, format!("users/{}/sessions/{}", tokens.user_id, tokens.session_id));
    assert_eq!(reuse.facts.reason, "REFRESH_TOKEN_REUSED");
    assert_eq!(reuse.facts.principal_kind, "anonymous", "the owner may not be the one who has the old token");
}

async fn deletion_of_an_account_erases_its_personal_fields(location: &Location) {
    let mut mesh = Mesh::on(location, Messaging::new(0)).await;
    let (ada, bob) = (mesh.signed_up("ada").await, mesh.signed_up("bob").await);
    tick(&mesh);
    let delete = DeleteAccountRequest { password: PASSWORD.to_owned() };
    mesh.auth.delete_account(by(&ada, delete)).await.unwrap();
    let records = list(location, "code = OK").await;
    let of = |tokens: &Tokens| records.iter().filter(|of| of.facts.principal == tokens.user_id).collect::<Vec<_>>();
    let deleted = of(&ada);
    assert_eq!(deleted.len(), 2, "{deleted:?}");
    assert!(deleted.iter().all(|record| record.personal.is_none()) && deleted[0].is_erased);
    assert!(deleted[1].facts.action.ends_with("/DeleteAccount"));
    assert!(of(&bob).iter().all(|record| record.personal.is_some()));
    let sealed = async || {
        let mut reader = Reader::connect(location, "auth", Keyring::default()).await.unwrap();
        reader.verify(None, &mut |_, _| {}).await.unwrap().records >= 3
    };
    eventually("the records are sealed", sealed).await;
}
