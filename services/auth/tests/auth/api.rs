//! The API of sessions.

use std::time::Duration;

use proto::auth::v1::{GetJwksRequest, RefreshDelivery, RefreshTokenRequest, SignInRequest, SignOutRequest, Tokens};
use tonic::{Code, Request, Status};

use crate::{
    database::execute,
    mesh::{Mesh, PASSWORD, reason, sign_in, sign_up},
};

async fn signed_up(mesh: &mut Mesh) -> Tokens {
    mesh.auth.sign_up(sign_up("ada")).await.unwrap().into_inner().tokens.unwrap()
}

async fn refresh(mesh: &mut Mesh, token: &str) -> Result<Tokens, Status> {
    let request = RefreshTokenRequest { refresh_token: token.to_owned() };
    mesh.auth.refresh_token(request).await.map(|response| response.into_inner().tokens.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_refreshed_and_ended() {
    let mut mesh = Mesh::start().await;
    let first = signed_up(&mut mesh).await;
    let second = refresh(&mut mesh, &first.refresh_token).await.unwrap();
    assert_eq!((&second.user_id, &second.session_id), (&first.user_id, &first.session_id));
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_ne!(second.access_token, first.access_token);
    for _ in 0..2 {
        let request = SignOutRequest { refresh_token: second.refresh_token.clone() };
        mesh.auth.sign_out(request).await.unwrap();
    }
    let refused = refresh(&mut mesh, &second.refresh_token).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "REFRESH_TOKEN_INVALID"));
    mesh.auth.sign_out(SignOutRequest { refresh_token: "unknown".to_owned() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_response_is_repeated_and_old_token_ends_the_session() {
    let mut mesh = Mesh::start().await;
    let first = signed_up(&mut mesh).await;
    let second = refresh(&mut mesh, &first.refresh_token).await.unwrap();
    // The SDK repeats after its own timeout of 20 s, and other clients after theirs.
    for _ in 0..2 {
        mesh.clock.advance(Duration::from_micros(59_999_999));
        let again = refresh(&mut mesh, &first.refresh_token).await.unwrap();
        assert_eq!(again.refresh_token, second.refresh_token);
    }
    mesh.clock.advance(Duration::from_micros(2));
    let refused = refresh(&mut mesh, &first.refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_REUSED");
    let refused = refresh(&mut mesh, &second.refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_token_ends_the_session_once_its_successor_is_used() {
    let mut mesh = Mesh::start().await;
    let first = signed_up(&mut mesh).await;
    // A thief has the first token. Owner and thief receive the same successor, and one of them uses it.
    let second = refresh(&mut mesh, &first.refresh_token).await.unwrap();
    mesh.clock.advance(Duration::from_secs(60));
    assert_eq!(refresh(&mut mesh, &first.refresh_token).await.unwrap().refresh_token, second.refresh_token);
    let third = refresh(&mut mesh, &second.refresh_token).await.unwrap();
    assert_eq!(reason(&refresh(&mut mesh, &first.refresh_token).await.unwrap_err()), "REFRESH_TOKEN_REUSED");
    assert_eq!(reason(&refresh(&mut mesh, &third.refresh_token).await.unwrap_err()), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn database_error_does_not_remove_the_cookie() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh).await;
    let request = SignInRequest { refresh_delivery: RefreshDelivery::Cookie.into(), ..sign_in("ada", PASSWORD) };
    let response = mesh.auth.sign_in(request).await.unwrap();
    let cookie = response.metadata().get("set-cookie").unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
    let refresh = || {
        let mut request = Request::new(RefreshTokenRequest::default());
        request.metadata_mut().insert("cookie", cookie.parse().unwrap());
        request
    };
    execute(&mesh.location(), "ALTER TABLE refresh_tokens RENAME TO away").await;
    let failed = mesh.auth.refresh_token(refresh()).await.unwrap_err();
    assert_eq!((failed.code(), failed.metadata().get("set-cookie")), (Code::Internal, None));
    execute(&mesh.location(), "ALTER TABLE away RENAME TO refresh_tokens").await;
    mesh.auth.refresh_token(refresh()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_every_session_that_has_a_cookie() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh).await;
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let request = SignInRequest { refresh_delivery: RefreshDelivery::Cookie.into(), ..sign_in("ada", PASSWORD) };
        let response = mesh.auth.sign_in(request).await.unwrap();
        let cookie = response.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
        pairs.push(cookie.split(';').next().unwrap().to_owned());
    }
    let mut request = Request::new(SignOutRequest::default());
    request.metadata_mut().insert("cookie", pairs.join("; ").parse().unwrap());
    mesh.auth.sign_out(request).await.unwrap();
    for pair in pairs {
        let token = pair.split_once('=').unwrap().1;
        assert_eq!(reason(&refresh(&mut mesh, token).await.unwrap_err()), "REFRESH_TOKEN_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_are_short_and_verify_by_the_published_keys() {
    let mut mesh = Mesh::start().await;
    let tokens = signed_up(&mut mesh).await;
    let ends = tokens.access_expire_time.unwrap().seconds;
    assert_eq!(ends - mesh.now().as_secs(), 15 * 60);
    let keys = mesh.auth.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().keys;
    assert_eq!((keys.len(), keys[0].alg.as_str()), (1, "ES256"));
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = URL_SAFE_NO_PAD.decode(tokens.access_token.split('.').next().unwrap()).unwrap();
    assert!(String::from_utf8(header).unwrap().contains(&keys[0].kid));
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_token_is_delivered_as_a_cookie() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh).await;
    let request = SignInRequest { refresh_delivery: RefreshDelivery::Cookie.into(), ..sign_in("ada", PASSWORD) };
    let response = mesh.auth.sign_in(request).await.unwrap();
    let cookie = response.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    assert_eq!(response.into_inner().tokens.unwrap().refresh_token, "");
    let with_cookie = |cookie: &str| {
        let mut request = Request::new(RefreshTokenRequest::default());
        request.metadata_mut().insert("cookie", cookie.split(';').next().unwrap().parse().unwrap());
        request
    };
    let response = mesh.auth.refresh_token(with_cookie(&cookie)).await.unwrap();
    let renewed = response.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    assert_ne!(renewed, cookie);
    assert_eq!(response.into_inner().tokens.unwrap().refresh_token, "");
    mesh.clock.advance(Duration::from_secs(121));
    // An old cookie is refused, and the refusal removes it.
    let refused = mesh.auth.refresh_token(with_cookie(&cookie)).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_REUSED");
    assert!(refused.metadata().get("set-cookie").unwrap().to_str().unwrap().contains("Max-Age=0"));
    let refused = mesh.auth.refresh_token(RefreshTokenRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_removed_with_its_session_only() {
    let mut mesh = Mesh::start().await;
    let other = signed_up(&mut mesh).await;
    let request = SignInRequest { refresh_delivery: RefreshDelivery::Cookie.into(), ..sign_in("ada", PASSWORD) };
    let response = mesh.auth.sign_in(request).await.unwrap();
    let cookie = response.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    let attributes = cookie.split_once(';').unwrap().1;
    let scope = " HttpOnly; Secure; SameSite=Strict; Path=/; Max-Age=2592000";
    assert_eq!(attributes, scope);
    let with_cookie = |token: &str| {
        let mut request = Request::new(SignOutRequest { refresh_token: token.to_owned() });
        request.metadata_mut().insert("cookie", cookie.split(';').next().unwrap().parse().unwrap());
        request
    };
    // The session of the token in the body ends; the cookie's session continues.
    let response = mesh.auth.sign_out(with_cookie(&other.refresh_token)).await.unwrap();
    assert_eq!(response.metadata().get("set-cookie"), None);
    assert_eq!(reason(&refresh(&mut mesh, &other.refresh_token).await.unwrap_err()), "REFRESH_TOKEN_INVALID");
    let response = mesh.auth.sign_out(with_cookie("")).await.unwrap();
    let removed = response.metadata().get("set-cookie").unwrap().to_str().unwrap();
    assert!(
        removed.starts_with("__Host-trellis_session_") && removed.contains("=;") && removed.ends_with("Max-Age=0"),
        "{removed}"
    );
    let token = cookie.split(['=', ';']).nth(1).unwrap();
    assert_eq!(reason(&refresh(&mut mesh, token).await.unwrap_err()), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn database_contains_no_secret_in_the_clear() {
    let mut mesh = Mesh::start().await;
    let first = signed_up(&mut mesh).await;
    let second = refresh(&mut mesh, &first.refresh_token).await.unwrap();
    let enrolled = crate::factors::enrol(&mut mesh, second.clone()).await;
    let challenge = crate::factors::challenged(&mut mesh, "ada", PASSWORD).await;
    let mut stored = Vec::new();
    for entry in std::fs::read_dir(mesh.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            stored.extend(std::fs::read(path).unwrap());
        }
    }
    assert!(
        stored.windows(15).any(|part| part == b"ada@example.org"),
        "the search finds a text that is stored in the clear"
    );
    let app = enrolled.app.secret.to_base32();
    let (recovery, plain) = (&enrolled.recovery_codes[0], enrolled.recovery_codes[0].replace('-', ""));
    let tokens = [&first.refresh_token, &second.refresh_token, &second.access_token, &challenge.token];
    for secret in tokens.into_iter().chain([&PASSWORD.to_owned(), recovery, &plain, &*app]) {
        assert!(!stored.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
    // The users service does not store the address.
    let profile = std::fs::read(mesh.users_file().with_extension("db-wal")).unwrap();
    assert!(!profile.windows(11).any(|part| part == b"example.org"));
}
