//! Names that users may not choose, through the gateway and both services.

use proto::{
    auth::v1::SignUpRequest,
    messaging::v1::SendMessageRequest,
    users::v1::{UpdateUserRequest, User},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::harness::{Mesh, PASSWORD, Person, Store, new_id, reason};

#[tokio::test(flavor = "multi_thread")]
async fn reserved_and_released_handles_are_refused_on_sqlite() {
    reserved_and_released_handles_are_refused(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_and_released_handles_are_refused_on_postgres() {
    reserved_and_released_handles_are_refused(Store::Postgres).await;
}

async fn reserved_and_released_handles_are_refused(store: Store) {
    let settings = [("USERS__MORE_RESERVED_HANDLES", "acme,acme_corp"), ("USERS__COOLING_HANDLES", "1")];
    let mesh = Mesh::start(store, &settings).await;
    let ada = mesh.sign_up("ada").await;
    for handle in ["admin", "adm1n_", "acme7", "acmecorp"] {
        let refused = sign_up(&ada, handle, "Eve").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "HANDLE_RESERVED"));
        let fix = "is reserved or looks like a reserved name; choose another";
        assert_eq!(violations(&refused), [("handle".to_owned(), fix.to_owned())]);
        let refused = rename(&ada, handle).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "HANDLE_RESERVED"));
    }
    // The same email address continues with another handle.
    sign_up(&ada, "eve", "Eve").await.unwrap();

    rename(&ada, "lovelace").await.unwrap();
    let taken = sign_up(&ada, "ada", "Not Ada").await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "HANDLE_TAKEN"));
    let refused = rename(&ada, "countess").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_HANDLES"));
    rename(&ada, "ada").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invisible_and_reordering_characters_are_refused_by_name() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    let invisible = "must not contain invisible characters (U+200B); remove it";
    let refused = sign_up(&ada, "eve", "Ad\u{200b}a").await.unwrap_err();
    assert_eq!(violations(&refused), [("display_name".to_owned(), invisible.to_owned())]);
    let message = SendMessageRequest {
        conversation_id: new_id(),
        client_message_id: new_id(),
        text: "invoice\u{202e}gpj.exe".to_owned(),
    };
    let refused = ada.messaging().send_message(ada.request(message)).await.unwrap_err();
    let reorders = "must not contain characters that reorder text (U+202E); remove it";
    assert_eq!(violations(&refused), [("text".to_owned(), reorders.to_owned())]);
    sign_up(&ada, "eve", "👩\u{200d}🚀 مى\u{200c}خواهم").await.unwrap();
}

/// Signs up with a separate email address, so that a repeat continues with the same account.
async fn sign_up(through: &Person, handle: &str, display_name: &str) -> Result<(), Status> {
    let request = SignUpRequest {
        email: format!("{}@example.org", display_name.len()),
        password: PASSWORD.to_owned(),
        handle: handle.to_owned(),
        display_name: display_name.to_owned(),
        ..SignUpRequest::default()
    };
    through.auth().sign_up(request).await.map(drop)
}

async fn rename(who: &Person, handle: &str) -> Result<(), Status> {
    let (user_id, display_name) = (who.id().to_owned(), "Ada".to_owned());
    let user = User { user_id, display_name, handle: handle.to_owned(), ..User::default() };
    let message = UpdateUserRequest { user: Some(user), update_mask: None };
    who.users().update_user(who.request(message)).await.map(drop)
}

/// The fields and descriptions of a status's violations.
fn violations(status: &Status) -> Vec<(String, String)> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}
