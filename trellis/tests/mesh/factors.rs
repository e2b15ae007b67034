//! Second factors with one process for each service: a sign-in continues after auth was killed.

use std::time::Duration;

use auth::domain::{TotpSecret, TotpStep};
use kit::ClockAndRng;
use proto::auth::v1::{
    BeginTotpRequest, CompleteSignInRequest, CompleteSignInResponse, ConfirmTotpRequest, SignInRequest, SignInResponse,
};

use tonic::Code;

use super::{
    harness::{PASSWORD, Ports, fresh_database},
    split::{Processes, make_keys, process},
    web::{self, BINARY, Http},
};

const SIGN_IN: &str = "/trellis.auth.v1.AuthService/SignIn";
const COMPLETE: &str = "/trellis.auth.v1.AuthService/CompleteSignIn";

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_with_a_code_continues_after_a_kill() {
    let (keys, database, ports) = (make_keys(), fresh_database().await, Ports::free());
    let mut processes = Processes::start(|part| process(part, ports, keys.path(), &database));
    let [mut auth, mut gateway] = processes.take(["auth", "gateway"]);
    gateway.ready(ports.gateway).await;
    let ada = gateway.sign_up("ada").await;
    let begin = ada.request(BeginTotpRequest { password: PASSWORD.to_owned() });
    let secret = ada.auth().begin_totp(begin).await.unwrap().into_inner().secret;
    let secret = TotpSecret::from_base32(&secret).unwrap();
    // The code of the next step is accepted too.
    let now = || ClockAndRng::system().now().as_secs() / 30;
    let step = now();
    let code = |step| secret.code(TotpStep(step)).to_string();
    ada.auth().confirm_totp(ada.request(ConfirmTotpRequest { code: code(step) })).await.unwrap();

    let origin = format!("http://localhost:{}", ports.gateway);
    let headers = [("origin", origin.as_str())];
    let email = "ada@example.org".to_owned();
    let request = SignInRequest { email, password: PASSWORD.to_owned(), refresh_delivery: 1 };
    let call = web::call(ports.gateway, SIGN_IN, BINARY, &headers, &request);
    let response = web::send(ports.gateway, Http::One, call).await.unwrap();
    assert!(!response.headers.contains_key("set-cookie"));
    let response = response.message::<SignInResponse>();
    assert_eq!(response.tokens, None);
    let challenge_token = response.challenge.unwrap().token;

    auth.kill();
    auth.launch();
    let complete = async || {
        let challenge_token = challenge_token.clone();
        let request = CompleteSignInRequest { challenge_token, code: code(now().max(step + 1)), refresh_delivery: 1 };
        let call = web::call(ports.gateway, COMPLETE, BINARY, &headers, &request);
        web::send(ports.gateway, Http::One, call).await.unwrap()
    };
    // The gateway notices within seconds that auth is back.
    let mut opened = complete().await;
    while opened.grpc_status() == (Code::Unavailable as i32).to_string() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        opened = complete().await;
    }
    assert!(opened.header("set-cookie").contains("HttpOnly"));
    let tokens = opened.message::<CompleteSignInResponse>().tokens.unwrap();
    assert_eq!((tokens.user_id.as_str(), tokens.refresh_token.as_str()), (ada.id(), ""));
    assert_eq!(complete().await.reason(), "CHALLENGE_INVALID");
}
