//! Sessions, as clients see them.

use std::time::Duration;

use proto::auth::v1::{GetJwksRequest, RefreshDelivery, RefreshTokenRequest, SignInRequest, SignOutRequest, Tokens};
use tonic::{Code, Request, Status};

use crate::mesh::{Mesh, PASSWORD, reason, sign_in, sign_up};

async fn signed_up(mesh: &mut Mesh) -> Tokens {
    mesh.auth.sign_up(sign_up("ada")).await.unwrap().into_inner().tokens.unwrap()
}

async fn refresh(mesh: &mut Mesh, token: &str) -> Result<Tokens, Status> {
    let request = RefreshTokenRequest { refresh_token: token.to_owned() };
    mesh.auth.refresh_token(request).await.map(|answer| answer.into_inner().tokens.unwrap())
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
async fn a_lost_answer_is_given_again_and_an_old_token_ends_the_session() {
    let mut mesh = Mesh::start().await;
    let first = signed_up(&mut mesh).await;
    let second = refresh(&mut mesh, &first.refresh_token).await.unwrap();
    mesh.clock.advance(Duration::from_secs(9));
    let again = refresh(&mut mesh, &first.refresh_token).await.unwrap();
    assert_eq!(again.refresh_token, second.refresh_token);
    mesh.clock.advance(Duration::from_secs(1));
    let refused = refresh(&mut mesh, &first.refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_REUSED");
    let refused = refresh(&mut mesh, &second.refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_address_look_the_same() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh).await;
    let mut answers = Vec::new();
    for handle in ["ada", "nobody"] {
        let mut of_one = Vec::new();
        for _ in 0..11 {
            let status = mesh.auth.sign_in(sign_in(handle, "wrong password")).await.unwrap_err();
            of_one.push((status.code(), status.message().to_owned(), reason(&status)));
        }
        answers.push(of_one);
    }
    assert_eq!(answers[0], answers[1]);
    // The last one is the limit by account, which tells nothing either.
    let reasons: Vec<_> = answers[0].iter().map(|(_, _, reason)| reason.as_str()).collect();
    assert_eq!((reasons[0], reasons[9], reasons[10]), ("BAD_CREDENTIALS", "BAD_CREDENTIALS", "RATE_LIMITED"));
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
async fn a_cookie_takes_the_place_of_the_body() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh).await;
    let request = SignInRequest { refresh_delivery: RefreshDelivery::Cookie.into(), ..sign_in("ada", PASSWORD) };
    let answer = mesh.auth.sign_in(request).await.unwrap();
    let cookie = answer.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    assert_eq!(answer.into_inner().tokens.unwrap().refresh_token, "");
    let with_cookie = |cookie: &str| {
        let mut request = Request::new(RefreshTokenRequest::default());
        request.metadata_mut().insert("cookie", cookie.split(';').next().unwrap().parse().unwrap());
        request
    };
    let answer = mesh.auth.refresh_token(with_cookie(&cookie)).await.unwrap();
    let renewed = answer.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    assert_ne!(renewed, cookie);
    assert_eq!(answer.into_inner().tokens.unwrap().refresh_token, "");
    mesh.clock.advance(Duration::from_secs(11));
    // An old cookie is refused, and taken away with the refusal.
    let refused = mesh.auth.refresh_token(with_cookie(&cookie)).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_REUSED");
    assert!(refused.metadata().get("set-cookie").unwrap().to_str().unwrap().contains("Max-Age=0"));
    let refused = mesh.auth.refresh_token(RefreshTokenRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_lies_in_the_database() {
    let mut mesh = Mesh::start().await;
    let first = signed_up(&mut mesh).await;
    let second = refresh(&mut mesh, &first.refresh_token).await.unwrap();
    let mut stored = Vec::new();
    for entry in std::fs::read_dir(mesh.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            stored.extend(std::fs::read(path).unwrap());
        }
    }
    assert!(stored.windows(15).any(|part| part == b"ada@example.org"), "the search finds what is there");
    for secret in [PASSWORD, &first.refresh_token, &second.refresh_token, &second.access_token] {
        assert!(!stored.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
    // And users never learns the address.
    let profile = std::fs::read(mesh.users_file().with_extension("db-wal")).unwrap();
    assert!(!profile.windows(11).any(|part| part == b"example.org"));
}
