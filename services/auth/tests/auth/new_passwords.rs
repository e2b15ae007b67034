//! New passwords that are short, easy to guess, or known.

use std::{fs, path::Path};

use proto::auth::v1::{ChangePasswordRequest, SignUpRequest, Tokens};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::mesh::{Mesh, PASSWORD, by, reason, sign_up};

const STOLEN: &str = "seven purple llamas sing";

async fn change(mesh: &mut Mesh, tokens: &Tokens, new: &str) -> Result<(), Status> {
    let message = ChangePasswordRequest { current_password: PASSWORD.to_owned(), new_password: new.to_owned() };
    mesh.auth.change_password(by(tokens, message)).await.map(drop)
}

/// The reason, the field and its description.
fn refusal(status: &Status) -> (String, String, String) {
    assert_eq!(status.code(), Code::InvalidArgument);
    let violations = status.get_error_details().bad_request().unwrap().field_violations.clone();
    let [violation] = &violations[..] else { panic!("{violations:?}") };
    (reason(status), violation.field.clone(), violation.description.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn easy_password_is_refused_with_a_hint() {
    let mut mesh = Mesh::start().await;
    for (password, hint) in [
        ("passwordpassword", "repeated text adds little; use different words"),
        ("ada@example.org ADA", "words about you"),
        ("trellis ada trellis", "words about you"),
    ] {
        let refused = mesh.auth.sign_up(SignUpRequest { password: password.to_owned(), ..sign_up("ada") }).await;
        let (reason, field, description) = refusal(&refused.unwrap_err());
        assert_eq!((reason.as_str(), field.as_str()), ("PASSWORD_TOO_WEAK", "password"), "{password}");
        assert!(description.starts_with("is too easy to guess: ") && description.contains(hint), "{description}");
    }
    let tokens = mesh.signed_up("grace").await;
    // The name and the handle are those of the profile.
    for password in ["passwordpassword", "GRACE grace grace.", "grace@example.org"] {
        let (reason, field, _) = refusal(&change(&mut mesh, &tokens, password).await.unwrap_err());
        assert_eq!((reason.as_str(), field.as_str()), ("PASSWORD_TOO_WEAK", "new_password"), "{password}");
    }
    mesh.stop_users().await;
    change(&mut mesh, &tokens, "another good password").await.unwrap();
    mesh.signed_in("grace", "another good password").await.unwrap();
}

fn write_list(folder: &Path, passwords: &[&str]) {
    let hash = |password: &&str| {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<String>() + ":7"
    };
    let mut lines: Vec<_> = passwords.iter().map(hash).collect();
    lines.sort();
    fs::write(folder.join("pwned.txt"), lines.join("\r\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn breached_password_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_list(folder.path(), &[STOLEN]);
    let breached_passwords = folder.path().join("pwned.txt").to_str().unwrap().to_owned();
    let mut mesh = Mesh::with(auth::Config { breached_passwords, ..auth::Config::default() }).await;
    let refused = mesh.auth.sign_up(SignUpRequest { password: STOLEN.to_owned(), ..sign_up("ada") }).await;
    let (reason_of, field, description) = refusal(&refused.unwrap_err());
    assert_eq!((reason_of.as_str(), field.as_str()), ("PASSWORD_BREACHED", "password"));
    assert!(description.contains("stolen") && description.contains("choose another"), "{description}");
    let tokens = mesh.signed_up("ada").await;
    let (reason_of, field, _) = refusal(&change(&mut mesh, &tokens, STOLEN).await.unwrap_err());
    assert_eq!((reason_of.as_str(), field.as_str()), ("PASSWORD_BREACHED", "new_password"));
    // The list is read for each password, so that it can be replaced. Without it nothing is accepted.
    write_list(folder.path(), &["another good password"]);
    assert_eq!(reason(&change(&mut mesh, &tokens, "another good password").await.unwrap_err()), "PASSWORD_BREACHED");
    fs::remove_file(folder.path().join("pwned.txt")).unwrap();
    let refused = change(&mut mesh, &tokens, STOLEN).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    mesh.signed_in("ada", PASSWORD).await.unwrap();
}
