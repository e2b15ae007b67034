//! Addresses and passwords in Unicode: each has one stored form for all sent forms.

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use auth::domain::{EmailAddress, PasswordHash};
use kit_data::store::Location;
use proto::auth::v1::{ChangePasswordRequest, SignInRequest, SignUpRequest, Tokens};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    databases::on_both,
    mesh::{Mesh, PASSWORD, by, reason, sign_in, sign_up},
    messaging::Messaging,
};

on_both!(
    unicode_and_punycode_of_a_domain_are_one_address,
    address_has_letters_of_any_language,
    password_is_the_same_in_every_normalization_form,
    hash_of_a_password_as_it_was_sent_is_renewed_by_signing_in,
);

const COMPOSED: &str = "Gr\u{fc}\u{df}e aus K\u{f6}ln am Rhein";
const DECOMPOSED: &str = "Gru\u{308}\u{df}e\u{a0}aus Ko\u{308}ln am Rhein";

async fn start(location: &Location) -> Mesh {
    Mesh::on(location, Messaging::new(0)).await
}

async fn signed_up(mesh: &mut Mesh, handle: &str, email: &str, password: &str) -> Result<Tokens, Status> {
    let (email, password) = (email.to_owned(), password.to_owned());
    let request = SignUpRequest { email, password, ..sign_up(handle) };
    mesh.auth.sign_up(request).await.map(|response| response.into_inner().tokens.unwrap())
}

/// Signs in. Returns the account's id, or the reason of the refusal.
async fn signed_in(mesh: &mut Mesh, email: &str, password: &str) -> Result<String, String> {
    let (email, password) = (email.to_owned(), password.to_owned());
    let request = SignInRequest { email, password, ..sign_in("", "") };
    match mesh.auth.sign_in(request).await {
        Ok(response) => Ok(response.into_inner().tokens.unwrap().user_id),
        Err(status) => Err(reason(&status)),
    }
}

async fn unicode_and_punycode_of_a_domain_are_one_address(location: &Location) {
    let mut mesh = start(location).await;
    let ada = signed_up(&mut mesh, "ada", "ada@b\u{fc}cher.example", PASSWORD).await.unwrap().user_id;
    for same in ["ada@xn--bcher-kva.example", "Ada@BU\u{308}CHER.example", "ada@XN--BCHER-KVA.EXAMPLE"] {
        assert_eq!(signed_in(&mut mesh, same, PASSWORD).await.as_ref(), Ok(&ada), "{same}");
        let taken = signed_up(&mut mesh, "bob", same, PASSWORD).await.unwrap_err();
        assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "EMAIL_TAKEN"), "{same}");
    }
    assert_eq!(signed_in(&mut mesh, "ada@bucher.example", PASSWORD).await, Err("BAD_CREDENTIALS".to_owned()));
}

async fn address_has_letters_of_any_language(location: &Location) {
    let mut mesh = start(location).await;
    let email = "J\u{f6}rg@example.org";
    let ada = signed_up(&mut mesh, "joerg", email, PASSWORD).await.unwrap().user_id;
    assert_eq!(signed_in(&mut mesh, "JO\u{308}RG@example.org", PASSWORD).await, Ok(ada));
    let taken = signed_up(&mut mesh, "jorg", "jo\u{308}rg@Example.org", PASSWORD).await.unwrap_err();
    assert_eq!(reason(&taken), "EMAIL_TAKEN");
    // Another address that looks the same is refused.
    for hidden in ["j\u{200b}\u{f6}rg@example.org", "j\u{f6}rg\u{202e}@example.org"] {
        let refused = signed_up(&mut mesh, "jorg", hidden, PASSWORD).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "EMAIL_INVALID"));
        let details = refused.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!((violations.len(), violations[0].field.as_str()), (1, "email"));
        assert_eq!(signed_in(&mut mesh, hidden, PASSWORD).await, Err("BAD_CREDENTIALS".to_owned()));
    }
}

async fn password_is_the_same_in_every_normalization_form(location: &Location) {
    let mut mesh = start(location).await;
    let email = "ada@example.org";
    let tokens = signed_up(&mut mesh, "ada", email, DECOMPOSED).await.unwrap();
    for same in [COMPOSED, DECOMPOSED] {
        signed_in(&mut mesh, email, same).await.unwrap();
    }
    assert_eq!(signed_in(&mut mesh, email, "Gruse aus Koln am Rhein").await, Err("BAD_CREDENTIALS".to_owned()));
    let refused = async |mesh: &mut Mesh, new: &str| {
        let change = ChangePasswordRequest { current_password: COMPOSED.to_owned(), new_password: new.to_owned() };
        mesh.auth.change_password(by(&tokens, change)).await.map(drop).map_err(|status| reason(&status))
    };
    assert_eq!(refused(&mut mesh, DECOMPOSED).await, Err("PASSWORD_UNCHANGED".to_owned()));
    // Short as it is sent, and short in NFC only.
    for short in ["short".to_owned(), "\u{fc}".repeat(14), "u\u{308}".repeat(14)] {
        assert_eq!(refused(&mut mesh, &short).await, Err("PASSWORD_TOO_SHORT".to_owned()), "{short}");
    }
    // Five characters as they are sent, and 15 in NFC.
    assert_eq!(refused(&mut mesh, &"\u{fb2c}".repeat(5)).await, Err("PASSWORD_TOO_WEAK".to_owned()));
    assert_eq!(refused(&mut mesh, &"x".repeat(257)).await, Err("PASSWORD_TOO_LONG".to_owned()));
    for short in ["short".to_owned(), "u\u{308}".repeat(14)] {
        let refused = signed_up(&mut mesh, "bob", "bob@example.org", &short).await.unwrap_err();
        assert_eq!(reason(&refused), "PASSWORD_TOO_SHORT", "{short}");
    }
    let longest = |u: &str| format!("{PASSWORD}{}", u.repeat(256 - PASSWORD.len()));
    assert_eq!(refused(&mut mesh, &longest("u\u{308}")).await, Ok(()));
    signed_in(&mut mesh, email, &longest("\u{fc}")).await.unwrap();
    assert_eq!(
        signed_in(&mut mesh, email, &longest("\u{fc}").replace("staple\u{fc}", "staple")).await,
        Err("BAD_CREDENTIALS".to_owned()),
        "no character is cut off"
    );
}

/// Earlier versions stored hashes of passwords without normalization.
async fn hash_of_a_password_as_it_was_sent_is_renewed_by_signing_in(location: &Location) {
    let mut mesh = start(location).await;
    let address = "ada@example.org";
    signed_up(&mut mesh, "ada", address, PASSWORD).await.unwrap();
    let email = EmailAddress::parse(address).unwrap();
    let account = mesh.store.find_by_email(&email).await.unwrap().unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19_456, 2, 1, None).unwrap());
    let before = argon2.hash_password_with_salt(DECOMPOSED.as_bytes(), &[7; 16]).unwrap().to_string();
    mesh.store.rehash(account.id, &account.password, &PasswordHash(before.clone())).await.unwrap();
    assert_eq!(signed_in(&mut mesh, address, COMPOSED).await, Err("BAD_CREDENTIALS".to_owned()));
    signed_in(&mut mesh, address, DECOMPOSED).await.unwrap();
    assert_ne!(mesh.store.find_by_email(&email).await.unwrap().unwrap().password.0, before);
    for same in [COMPOSED, DECOMPOSED] {
        signed_in(&mut mesh, address, same).await.unwrap();
    }
}
