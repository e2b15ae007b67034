//! A process accepts no access token before it has read the list of ended sessions once, ready or not: clients and
//! other services reach it as soon as it listens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::body::Frame;
use kit::{
    ClockAndRng,
    jwt::{AUDIENCE, AccessClaims, AccessKey, ISSUER},
};
use prost::Message as _;
use proto::{
    auth::v1::{GetJwksResponse, Jwk, ListEndedSessionsResponse},
    users::v1::{GetUserRequest, users_service_client::UsersServiceClient},
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status, transport::Channel};

use super::{
    external_upstream::{respond, serve, trailers, well},
    harness::{Ports, reason},
    split::{make_keys, prepared},
    web,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What other processes need of auth: its keys, and its list of ended sessions, which the test withholds at first.
#[derive(Default)]
struct Auth {
    gives_list: AtomicBool,
    keys_read: AtomicUsize,
    lists_refused: AtomicUsize,
}

impl Auth {
    async fn start(self: &Arc<Self>, key: &AccessKey, ended: String) -> String {
        let jwk = key.jwk();
        let jwk = Jwk {
            kid: jwk.kid.clone(),
            kty: jwk.kty.clone(),
            crv: jwk.crv.clone(),
            alg: jwk.alg.clone(),
            r#use: jwk.usage.clone(),
            x: jwk.x.clone(),
            y: jwk.y.clone(),
        };
        let keys = GetJwksResponse { keys: vec![jwk] }.encode_to_vec();
        let list = ListEndedSessionsResponse { session_ids: vec![ended], ..Default::default() }.encode_to_vec();
        let auth = Arc::clone(self);
        let (address, _) = serve(move |path| {
            let message = match path.rsplit('/').next().unwrap() {
                "GetJwks" => {
                    auth.keys_read.fetch_add(1, Ordering::SeqCst);
                    &keys[..]
                }
                "ListEndedSessions" if auth.gives_list.load(Ordering::SeqCst) => &list,
                "ListEndedSessions" => {
                    auth.lists_refused.fetch_add(1, Ordering::SeqCst);
                    return respond(vec![trailers(&[("grpc-status", "14")])]);
                }
                // Health: SERVING.
                _ => &[8, 1],
            };
            respond(vec![Ok(Frame::data(web::frame(message))), well()])
        })
        .await;
        address
    }
}

async fn get_user(channel: &Channel, token: &str) -> Status {
    let mut request = Request::new(GetUserRequest { user_id: "0190b2c4-7d1e-7abc-8def-0123456789ab".to_owned() });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    UsersServiceClient::new(channel.clone()).get_user(request).await.expect_err("there is no such user")
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_accepted_only_after_the_ended_sessions_are_known() {
    let (key, clock_rng) = (AccessKey::from_pkcs8(&AccessKey::generate()).unwrap(), ClockAndRng::system());
    let [ended, other] = [(); 2].map(|()| clock_rng.new_id());
    let token = |session| {
        let now = clock_rng.now().as_secs();
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: clock_rng.new_id(),
            principal: kit::jwt::PrincipalClaims::User { sid: session, auth_time: now, amr: vec!["pwd".to_owned()] },
            iat: now,
            exp: now + 600,
            jti: clock_rng.new_id(),
            roles: Vec::new(),
            scope: String::new(),
        };
        key.sign(&claims).unwrap()
    };
    let auth = Arc::<Auth>::default();
    let address = auth.start(&key, ended.to_string()).await;
    let keys = make_keys();
    let mut users = prepared("users", Ports::free(), keys.path(), "");
    users.set("PEERS__AUTH", &address);
    users.launch();
    let channel = users.channel(users.ports.users).await;

    // The process has the key set, and asks for the list again and again.
    let mut calls = 0;
    let calling = async {
        while auth.lists_refused.load(Ordering::SeqCst) < 3 || auth.keys_read.load(Ordering::SeqCst) == 0 || calls < 20
        {
            for session in [ended, other] {
                let refused = get_user(&channel, &token(session)).await;
                assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
                // Before the process listens, the status is the client's own.
                calls += usize::from(reason(&refused) == "UNAVAILABLE");
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, calling).await.expect("the process asks for the list");
    assert_ne!(web::get(users.ports.admin, "/readyz").await.unwrap().status, 200);

    auth.gives_list.store(true, Ordering::SeqCst);
    let becoming_ready = async {
        while web::get(users.ports.admin, "/readyz").await.unwrap().status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, becoming_ready).await.expect("the list makes the process ready");
    let refused = get_user(&channel, &token(ended)).await;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SESSION_REVOKED"));
    assert_eq!(get_user(&channel, &token(other)).await.code(), Code::NotFound);
}
