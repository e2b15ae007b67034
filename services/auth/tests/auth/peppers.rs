//! Peppers: a rotation renews the hashes of users as they sign in.

use auth::{
    domain::EmailAddress,
    keys::{PepperStep, Peppers},
};
use kit::ClockAndRng;
use kit_data::store::Location;
use tonic::Code;

use crate::{
    databases::on_both,
    mesh::{Mesh, PASSWORD},
    messaging::Messaging,
};

on_both!(rotated_pepper_enters_the_hash_at_the_next_sign_in);

/// Uses a new pepper, as after `trellis keys pepper --now` and a restart.
async fn rotate(mesh: &mut Mesh) -> String {
    let folder = mesh.folder.path().join("keys");
    let step = Peppers::rotate_in(&folder, ClockAndRng::system().now(), true).unwrap().unwrap();
    mesh.kill_auth();
    mesh.start_auth().await;
    let PepperStep::Used(id) = step else { panic!("{step:?}") };
    id
}

async fn stored(mesh: &Mesh, handle: &str) -> String {
    let email = EmailAddress::parse(&format!("{handle}@example.org")).unwrap();
    mesh.store.find_by_email(&email).await.unwrap().unwrap().password.0
}

async fn rotated_pepper_enters_the_hash_at_the_next_sign_in(location: &Location) {
    let mut mesh = Mesh::on(location, Messaging::new(0)).await;
    mesh.signed_up("ada").await;
    let plain = stored(&mesh, "ada").await;
    assert!(plain.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{plain}");
    let first = rotate(&mut mesh).await;
    mesh.signed_up("bob").await;
    let counts = async |mesh: &Mesh, id: &str| {
        let all = mesh.store.count_hashes(None).await.unwrap();
        (mesh.store.count_hashes(Some(id)).await.unwrap(), mesh.store.count_peppered().await.unwrap(), all)
    };
    assert_eq!(stored(&mesh, "ada").await, plain, "nothing changes before the sign-in");
    assert_eq!(counts(&mesh, &first).await, (1, 1, 2));
    mesh.signed_in("ada", "wrong password").await.unwrap_err();
    mesh.signed_in("ada", PASSWORD).await.unwrap();
    let hash = stored(&mesh, "ada").await;
    assert!(hash.starts_with(&format!("$argon2id$v=19$m=19456,t=2,p=1,keyid={first}$")), "{hash}");
    assert_eq!(counts(&mesh, &first).await, (2, 2, 2));
    // The hash is not renewed again.
    mesh.signed_in("ada", PASSWORD).await.unwrap();
    assert_eq!(stored(&mesh, "ada").await, hash);
    let second = rotate(&mut mesh).await;
    mesh.signed_in("ada", PASSWORD).await.unwrap();
    assert_eq!(counts(&mesh, &first).await, (1, 2, 2));
    assert_eq!(counts(&mesh, &second).await, (1, 2, 2));
    mesh.signed_in("bob", PASSWORD).await.unwrap();
    assert_eq!(counts(&mesh, &first).await, (0, 2, 2));
    // Without the pepper no password is right, and none is called wrong.
    std::fs::remove_file(mesh.folder.path().join("keys/peppers.keys")).unwrap();
    mesh.kill_auth();
    mesh.start_auth().await;
    let refused = mesh.signed_in("ada", PASSWORD).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}
