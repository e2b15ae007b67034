//! One test for each field of a rule or limit: setting it changes the decision. `proto/build/enforced.rs` names them.

use std::sync::Arc;

use super::*;
use crate::{
    access::{Proof, authorise, check_step_up},
    context::Caller,
    error,
    limiter::{Ask, BucketKey, Limit, LocalLimiter, RateLimiter as _, StreamAsk},
    principal::{MeshService, Principal, UserSession, tests::session},
    time::{ManualClock, Timestamp},
};

fn proof(user: bool, service: Option<&str>) -> Proof {
    let peer = service.map(MeshService::new);
    let principal = if user { Some(Principal::User(session())) } else { peer.clone().map(Principal::Service) };
    Proof { caller: Caller { principal, peer, ..Caller::default() }, ..Proof::default() }
}

/// Whether a caller without credential, a user and a service may call.
fn admits(rule: Rule) -> [bool; 3] {
    let access = Access::new(rule, &Roles::default());
    [proof(false, None), proof(true, None), proof(false, Some("auth"))].map(|proof| authorise(&access, &proof).is_ok())
}

#[test]
fn public_access_admits_all_callers() {
    assert_eq!(admits(Rule::Public(wire::Public {})), [true, true, true]);
}

#[test]
fn signed_in_access_admits_only_users() {
    assert_eq!(admits(Rule::SignedIn(wire::SignedIn::default())), [false, true, false]);
}

#[test]
fn permissions_of_a_method_need_a_role_and_a_scope() {
    let [read, write] = [wire::Permission::AccountsRead, wire::Permission::RolesWrite].map(i32::from);
    let decision = |permissions: &[i32], roles: &[&str], scopes: &[&str]| {
        let rule = Rule::SignedIn(wire::SignedIn { permissions: permissions.to_vec() });
        let [roles, scopes] = [roles, scopes].map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let user = Principal::User(Arc::new(UserSession { roles, scopes, ..UserSession::clone(&session()) }));
        let proof = Proof { caller: Caller { principal: Some(user), ..Caller::default() }, ..Proof::default() };
        let refused = authorise(&Access::new(rule, table().roles()), &proof).err();
        refused.map_or("yes".to_owned(), |status| error::reason(&status).unwrap_or_default())
    };
    let both = ["accounts.read", "roles.write"];
    for (permissions, roles, scopes, expected) in [
        (&[][..], &[][..], &[][..], "yes"),
        (&[read], &[], &[], "ROLE_REQUIRED"),
        (&[read], &["operator"], &both, "ROLE_REQUIRED"),
        (&[read], &["support"], &both, "yes"),
        (&[read], &["support"], &[], "SCOPE_REQUIRED"),
        (&[read, write], &["support"], &both, "ROLE_REQUIRED"),
        (&[read, write], &["support", "admin"], &both, "yes"),
        (&[read, write], &["admin"], &both[..1], "SCOPE_REQUIRED"),
        // A contract of a newer release.
        (&[read, 99], &["admin"], &both, "ROLE_REQUIRED"),
    ] {
        assert_eq!(decision(permissions, roles, scopes), expected, "{permissions:?} {roles:?} {scopes:?}");
    }
}

#[test]
fn refusal_names_the_permission_and_the_roles() {
    use tonic_types::StatusExt as _;
    let rule = Rule::SignedIn(wire::SignedIn { permissions: vec![wire::Permission::AccountsRead.into()] });
    let refused = authorise(&Access::new(rule, table().roles()), &proof(true, None)).unwrap_err();
    let info = refused.get_error_details().error_info().unwrap().clone();
    let named = ["permission", "roles"].map(|name| info.metadata[name].clone());
    assert_eq!(named, ["accounts.read".to_owned(), "admin,support".to_owned()]);
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("admin or support"), "{}", refused.message());
}

/// Whether a proof that is so many seconds old suffices for a method with this policy.
fn suffices(step_up: Option<wire::StepUp>, seconds: u64) -> bool {
    let encoded = changed(|policy| Some(wire::Policy { step_up, ..policy }));
    let policies = Table::from_descriptors(&encoded).unwrap();
    let now = session().authenticated + Duration::from_secs(seconds);
    check_step_up(policies.get(SEND).unwrap().step_up, &proof(true, None), || now).is_ok()
}

fn step_up(seconds: i64) -> Option<wire::StepUp> {
    Some(wire::StepUp { max_age: Some(prost_types::Duration { seconds, nanos: 0 }) })
}

#[test]
fn step_up_needs_a_recent_proof() {
    assert_eq!([suffices(None, 601), suffices(step_up(600), 601)], [true, false]);
    // Only users can prove who they are, so no other principal passes.
    for proof in [proof(false, None), proof(false, Some("auth"))] {
        let refused = check_step_up(Some(Duration::from_secs(600)), &proof, || Timestamp::from_micros(0)).unwrap_err();
        assert_eq!(error::reason(&refused).as_deref(), Some("STEP_UP_REQUIRED"));
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    }
}

#[test]
fn max_age_of_a_step_up_bounds_the_age_of_the_proof() {
    let outcomes = [599, 600, 601, 3_600, 3_601].map(|age| [600, 3_600].map(|most| suffices(step_up(most), age)));
    assert_eq!(outcomes, [[true, true], [true, true], [false, true], [false, true], [false, false]]);
    assert!(!suffices(Some(wire::StepUp { max_age: None }), 1), "a contract outside of this build");
}

#[test]
fn internal_access_admits_only_services() {
    let callers = vec!["auth".to_owned()];
    assert_eq!(admits(Rule::Internal(wire::Internal { callers })), [false, false, true]);
}

#[test]
fn callers_of_an_internal_method_are_those_it_names() {
    let rule = |name: &str| Rule::Internal(wire::Internal { callers: vec![name.to_owned()] });
    let access = |name: &str| Access::new(rule(name), &Roles::default());
    assert!(authorise(&access("auth"), &proof(false, Some("auth"))).is_ok());
    assert!(authorise(&access("users"), &proof(false, Some("auth"))).is_err());
}

/// Six per minute.
fn six() -> wire::RateLimit {
    let period = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    wire::RateLimit { requests: 6, period, ..wire::RateLimit::default() }
}

/// The number of calls admitted at once, and then after `seconds`.
async fn admitted(limit: &wire::RateLimit, seconds: u64) -> [u32; 2] {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000_000)));
    let limiter = LocalLimiter::new(clock.clone());
    let RateLimit { quota, cost, .. } = RateLimit::from(limit);
    let limits = [Limit { key: BucketKey::new(&[b"k"]), quota, cost }];
    let ask = Ask { scope: "test", limits: &limits, failure_mode: FailureMode::Local };
    let mut counts = [0; 2];
    for count in &mut counts {
        while limiter.decide(&ask).decision().await.is_admitted() {
            *count += 1;
        }
        clock.advance(Duration::from_secs(seconds));
    }
    counts
}

#[tokio::test]
async fn requests_of_a_rate_limit_are_counted() {
    assert_eq!(admitted(&six(), 60).await, [6, 6]);
    assert_eq!(admitted(&wire::RateLimit { requests: 3, ..six() }, 60).await, [3, 3]);
}

#[tokio::test]
async fn period_of_a_rate_limit_is_how_long_it_takes_to_refill() {
    assert_eq!(admitted(&six(), 10).await, [6, 1]);
    let period = Some(prost_types::Duration { seconds: 6, nanos: 0 });
    assert_eq!(admitted(&wire::RateLimit { period, ..six() }, 3).await, [6, 3]);
}

#[tokio::test]
async fn burst_of_a_rate_limit_bounds_what_comes_at_once() {
    assert_eq!(admitted(&wire::RateLimit { burst: 2, ..six() }, 60).await, [2, 2]);
}

#[tokio::test]
async fn cost_of_a_rate_limit_is_taken_by_each_call() {
    assert_eq!(admitted(&wire::RateLimit { cost: 3, ..six() }, 60).await, [2, 2]);
}

#[tokio::test]
async fn kind_of_a_rate_limit_is_how_it_counts() {
    assert_eq!(admitted(&six(), 30).await, [6, 3]);
    let count = wire::RateLimit { kind: wire::RateLimitKind::Count.into(), ..six() };
    assert_eq!(admitted(&count, 30).await, [6, 0], "the period of a count ends as a whole");
}

#[test]
fn header_of_a_rate_limit_is_what_is_counted_by() {
    let limit = |header: &str| {
        let key = wire::RateLimitKey::Header.into();
        RateLimit::from(&wire::RateLimit { key, header: header.to_owned(), ..six() }).by
    };
    assert_eq!(
        (limit("x-tenant"), limit("x-team")),
        (By::Header("x-tenant".to_owned()), By::Header("x-team".to_owned()))
    );
}

/// The number of streams that may be open at once.
async fn open(limit: &wire::StreamLimit) -> usize {
    let limiter = LocalLimiter::new(Arc::new(ManualClock::new(Timestamp::from_micros(0))));
    let most = StreamLimit::from(limit).streams;
    let mut held = Vec::new();
    while let Ok(hold) = limiter
        .open_stream(StreamAsk { scope: "test", key: BucketKey::new(&[b"k"]), most, failure_mode: FailureMode::Local })
        .await
    {
        held.push(hold);
    }
    held.len()
}

#[tokio::test]
async fn streams_of_a_stream_limit_are_counted() {
    for streams in [1, 3] {
        assert_eq!(open(&wire::StreamLimit { streams, ..wire::StreamLimit::default() }).await, streams as usize);
    }
}

#[test]
fn key_of_a_stream_limit_is_proved() {
    let by = |key: wire::RateLimitKey| StreamLimit::from(&wire::StreamLimit { streams: 1, key: key.into() }).by;
    assert_eq!(by(wire::RateLimitKey::Unspecified), By::Caller);
    assert_eq!((by(wire::RateLimitKey::Address), by(wire::RateLimitKey::Session)), (By::Address, By::Session));
    for made_up in [wire::RateLimitKey::Header, wire::RateLimitKey::ApiKey] {
        assert_eq!(by(made_up), By::Caller);
    }
}

/// Protocols that convert messages need the types of a method.
#[test]
fn every_method_with_a_policy_keeps_its_descriptor() {
    let table = Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    assert!(table.iter().count() > 0);
    for (path, policy) in table.iter() {
        let descriptor = table.descriptor(path).unwrap();
        assert_eq!(path_of(&descriptor), path);
        assert_eq!(is_idempotent(&descriptor), policy.idempotent, "{path}");
    }
    assert!(table.descriptor("/trellis.users.v1.UsersService/Unknown").is_none());
    assert!(table.descriptors().count() >= table.iter().count());
}

const SEND: &str = "/trellis.messaging.v1.MessagingService/SendMessage";

fn table() -> Table {
    Table::from_descriptors(proto::DESCRIPTORS).unwrap()
}

/// Our contracts, with a change of the policy of [`SEND`]: `None` removes it.
fn changed(change: impl Fn(wire::Policy) -> Option<wire::Policy>) -> Vec<u8> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let extension = pool.get_extension_by_name(OPTION).unwrap();
    let set = pool.get_message_by_name("google.protobuf.FileDescriptorSet").unwrap();
    let mut set = DynamicMessage::decode(set, proto::DESCRIPTORS).unwrap();
    let mut methods = 0;
    for file in items(&mut set, "file") {
        for service in items(file, "service") {
            for method in items(service, "method") {
                if method.get_field_by_name("name").unwrap().as_str() != Some("SendMessage") {
                    continue;
                }
                let options = method.get_field_by_name_mut("options").unwrap().as_message_mut().unwrap();
                let policy = options.get_extension(&extension).as_message().unwrap().encode_to_vec();
                match change(wire::Policy::decode(policy.as_slice()).unwrap()) {
                    None => options.clear_extension(&extension),
                    Some(policy) => {
                        let prost_reflect::Kind::Message(kind) = extension.kind() else { panic!("it is a message") };
                        let policy = DynamicMessage::decode(kind, policy.encode_to_vec().as_slice()).unwrap();
                        options.set_extension(&extension, prost_reflect::Value::Message(policy));
                    }
                }
                methods += 1;
            }
        }
    }
    assert_eq!(methods, 1);
    set.encode_to_vec()
}

/// The messages of a repeated field.
fn items<'a>(of: &'a mut DynamicMessage, field: &str) -> impl Iterator<Item = &'a mut DynamicMessage> {
    let list = of.get_field_by_name_mut(field).unwrap().as_list_mut().unwrap();
    list.iter_mut().filter_map(prost_reflect::Value::as_message_mut)
}

#[test]
fn method_without_a_policy_is_not_in_the_table() {
    let table = Table::from_descriptors(&changed(|_| None)).unwrap();
    assert!(table.get(SEND).is_none());
    assert_eq!(table.iter().count() + 1, self::table().iter().count());
}

#[test]
fn policy_without_an_access_rule_is_an_error() {
    for access in [None, Some(wire::Access::default())] {
        let changed = changed(|policy| Some(wire::Policy { access: access.clone(), ..policy }));
        let error = Table::from_descriptors(&changed).unwrap_err().to_string();
        assert!(error.ends_with("MessagingService.SendMessage: no access rule"), "{error}");
    }
    assert!(Table::from_descriptors(b"no descriptors").is_err());
}

#[test]
fn policies_are_those_of_the_contract() {
    let table = table();
    let of = |path: &str| {
        let policy = table.get(&format!("/trellis.{path}")).unwrap();
        let flags = [policy.streams, policy.idempotent, policy.reads_session_cookie];
        (policy.access.clone(), flags, policy.deadline.map(|deadline| deadline.as_secs()), policy.priority)
    };
    let internal = |name: &str| Access::Internal { callers: vec![name.to_owned()] };
    let [high, normal, low] = [Priority::High, Priority::Normal, Priority::Low];
    let expected = [
        ("auth.v1.AuthService/SignIn", (Access::Public, [false, false, false], Some(15), normal)),
        ("auth.v1.AuthService/SignOut", (Access::Public, [false, true, true], Some(10), high)),
        ("messaging.v1.MessagingService/Subscribe", (Access::SIGNED_IN, [true, true, false], None, normal)),
        ("messaging.v1.MessagingService/ListContacts", (internal("users"), [false, true, false], Some(5), normal)),
        ("users.v1.UsersService/ListUsers", (Access::SIGNED_IN, [false, true, false], Some(5), low)),
    ];
    for (path, expected) in expected {
        assert_eq!(of(path), expected, "{path}");
    }
}

#[test]
fn shortest_deadline_is_that_of_a_unary_method() {
    let table = table();
    let unary = || table.iter().filter(|(_, policy)| !policy.streams).filter_map(|(_, policy)| policy.deadline);
    let (long, short) = (Duration::from_secs(3_600), Duration::from_millis(1));
    assert_eq!(table.shortest_deadline(long), unary().min().unwrap());
    let without = changed(|policy| Some(wire::Policy { deadline: None, ..policy }));
    assert_eq!(Table::from_descriptors(&without).unwrap().shortest_deadline(short), short);
    assert_eq!(Table::default().shortest_deadline(long), long);
}

/// Our build refuses such contracts; those of external upstreams are not validated.
#[test]
fn limits_of_a_wrong_contract_stay_usable() {
    let limit = RateLimit::from(&wire::RateLimit { cost: 7, period: None, ..six() });
    assert_eq!((limit.cost, limit.quota.period()), (6, Duration::from_secs(1)));
    assert_eq!(RateLimit::from(&six()).cost, 1, "an absent cost is 1");
    assert_eq!(StreamLimit::from(&wire::StreamLimit::default()).streams, 1);
}

#[test]
fn only_keys_that_no_caller_can_invent_are_proved() {
    let header = By::Header("x-tenant".to_owned());
    let proved = [By::Caller, By::Address, By::Session, By::ApiKey, header].map(|by| by.is_proved());
    assert_eq!(proved, [true, true, true, false, false]);
}
