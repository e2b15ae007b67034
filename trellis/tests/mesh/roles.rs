//! Roles on real processes: the first admin, a recent proof, and a suspension that ends everything on every replica.

use std::time::{Duration, Instant};

use proto::{
    auth::v1::{
        GrantRoleRequest, ListAccountsRequest, ReauthenticateRequest, RevokeRoleRequest, SuspendAccountRequest, Tokens,
    },
    messaging::v1::{ListConversationsRequest, SubscribeRequest},
};
use serde_json::Value;
use tokio::time::timeout;
use tonic::Code;

use super::{
    harness::{Mesh, PASSWORD, Person, Store, reason},
    redis::Redis,
    replicas::Replicas,
    wait::until,
    web,
};

/// How long the end of a stream may take on a busy machine.
const ENDS: Duration = Duration::from_secs(60);

/// The person with a session whose proof is `age` old: auth signed the token with this key.
fn with_old_proof(mesh: &Mesh, person: &Person, age: u64) -> Person {
    let key = super::split::signing_key(&mesh.folder().join("trellis/keys"));
    let key = kit::jwt::AccessKey::from_pkcs8(&key).unwrap();
    let now = kit::ClockAndRng::system().now().as_secs();
    let policies = kit::policy::Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    let admin = kit::policy::ADMIN.to_owned();
    let claims = kit::jwt::AccessClaims {
        iss: kit::jwt::ISSUER.to_owned(),
        aud: kit::jwt::AUDIENCE.to_owned(),
        sub: person.id().parse().unwrap(),
        principal: kit::jwt::PrincipalClaims::User {
            sid: person.tokens.session_id.parse().unwrap(),
            auth_time: now - i64::try_from(age).unwrap(),
            amr: vec!["pwd".to_owned()],
        },
        iat: now,
        exp: now + 600,
        jti: super::harness::new_id().parse().unwrap(),
        scope: policies.roles().scopes([&admin]).join(" "),
        roles: vec![admin],
    };
    person.signed_in_as(Tokens { access_token: key.sign(&claims).unwrap(), ..person.tokens.clone() })
}

/// A call with JSON over HTTP.
async fn post(mesh: &Mesh, person: &Person, path: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {}", person.tokens.access_token);
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let request = web::request("POST", mesh.ports.gateway, path, &headers, body.to_owned().into());
    let response = web::send(mesh.ports.gateway, web::Http::Two, request).await.unwrap();
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

async fn first_admin_administers_the_accounts(store: Store) {
    let mesh = Mesh::start(store, &[("AUTH__OWN_ROLES", "on-call")]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let (status, refused) = post(&mesh, &ada, "/v1/admin/accounts:list", "{}").await;
    let info = &refused["details"][0];
    assert_eq!((status, &info["reason"]), (403, &"ROLE_REQUIRED".into()), "{refused}");
    assert_eq!(info["metadata"]["roles"], "admin,support");
    let admin = mesh.make_admin(&ada).await;
    let (status, listed) = post(&mesh, &admin, "/v1/admin/accounts:list", "{\"email\": \"Bob@Example.org\"}").await;
    assert_eq!((status, &listed["accounts"][0]["userId"]), (200, &bob.id().into()), "{listed}");
    // A page or a program that calls with an old proof learns which proofs are accepted.
    let old = with_old_proof(&mesh, &admin, 601);
    let path = format!("/v1/admin/accounts/{}:grantRole", bob.id());
    let (status, refused) = post(&mesh, &old, &path, "{\"role\": \"on-call\"}").await;
    let info = &refused["details"][0];
    assert_eq!((status, &info["reason"]), (401, &"STEP_UP_REQUIRED".into()), "{refused}");
    assert_eq!((&info["metadata"]["proofs"], &info["metadata"]["max_age_seconds"]), (&"pwd".into(), &"600".into()));
    // The gateway and the service refuse alike.
    let direct = old.through(mesh.channel(mesh.ports.auth).await);
    let grant = GrantRoleRequest { user_id: bob.id().to_owned(), role: "on-call".to_owned() };
    let refused = direct.auth().grant_role(direct.request(grant.clone())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "STEP_UP_REQUIRED"));
    let prove = ReauthenticateRequest { password: PASSWORD.to_owned(), code: String::new() };
    let proved = old.auth().reauthenticate(old.request(prove)).await.unwrap().into_inner();
    let fresh = old.signed_in_as(Tokens { access_token: proved.access_token, ..old.tokens.clone() });
    let account = fresh.auth().grant_role(fresh.request(grant)).await.unwrap().into_inner().account.unwrap();
    assert_eq!(account.roles, ["on-call"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_admin_administers_the_accounts_on_sqlite() {
    first_admin_administers_the_accounts(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_admin_administers_the_accounts_on_postgres() {
    first_admin_administers_the_accounts(Store::Postgres).await;
}

/// Whether both replicas refuse the token, at the gateway and in a service.
async fn is_refused_everywhere(clients: &[Person]) -> bool {
    for client in clients {
        let request = client.request(ListConversationsRequest::default());
        match client.messaging().list_conversations(request).await {
            Err(status) if reason(&status) == "SESSION_REVOKED" => {}
            _ => return false,
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_role_and_suspension_reach_every_replica() {
    let redis = Redis::start(&[]);
    let replicas = Replicas::start(&redis).await;
    let [one, _] = &replicas.sides;
    let [ada, bob, cyd] =
        [one.gateway().sign_up("ada").await, one.gateway().sign_up("bob").await, one.gateway().sign_up("cyd").await];
    let admin = one.process("auth").make_admin(&ada).await;
    let grant = GrantRoleRequest { user_id: bob.id().to_owned(), role: "support".to_owned() };
    admin.auth().grant_role(admin.request(grant)).await.unwrap();
    let bob = one.gateway().sign_in("bob").await;
    let (bobs, cyds) = (replicas.both(&bob).await, replicas.both(&cyd).await);
    let list = |person: &Person| person.request(ListAccountsRequest::default());
    for client in &bobs {
        client.auth().list_accounts(list(client)).await.unwrap();
    }
    let mut streams = Vec::new();
    for client in &cyds {
        let opened = client.messaging().subscribe(client.request(SubscribeRequest::default())).await.unwrap();
        streams.push(opened.into_inner());
    }
    let began = Instant::now();
    let revoke = RevokeRoleRequest { user_id: bob.id().to_owned(), role: "support".to_owned() };
    admin.auth().revoke_role(admin.request(revoke)).await.unwrap();
    let suspend = SuspendAccountRequest { user_id: cyd.id().to_owned() };
    admin.auth().suspend_account(admin.request(suspend)).await.unwrap();
    for clients in [&bobs, &cyds] {
        until("every replica refuses the token", async || is_refused_everywhere(clients).await).await;
    }
    println!("two changes reached two replicas after {:?}", began.elapsed());
    for client in &bobs {
        let refused = client.auth().list_accounts(list(client)).await.unwrap_err();
        assert_eq!(reason(&refused), "SESSION_REVOKED");
    }
    for mut stream in streams {
        let ended = async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ends with a reason"),
                    Err(status) => return status,
                }
            }
        };
        assert_eq!(reason(&timeout(ENDS, ended).await.expect("the stream ends")), "SESSION_REVOKED");
    }
}
