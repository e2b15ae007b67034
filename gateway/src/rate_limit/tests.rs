use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use kit::{
    Timestamp,
    config::Span,
    limiter::{Ask, EventualDecision, Outcome, RateLimiter as _},
    policy::{By, Table},
    principal::{MeshService, UserSession},
    time::ManualClock,
};

use super::*;
use crate::config::{ExternalConfig, Limit as Stated, Override, RateLimits};

const PATH: &str = "/trellis.messaging.v1.MessagingService/SendMessage";

fn table() -> Table {
    Table::from_descriptors(proto::DESCRIPTORS).unwrap()
}

fn stated(requests: u32) -> Stated {
    let period = Span(Duration::from_secs(60));
    Stated { requests, period, burst: 0, cost: 1, by: "caller".to_owned(), count: false }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

fn config(overrides: &[(&str, Override)]) -> Config {
    let overrides: BTreeMap<_, _> = overrides.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect();
    Config { rate_limits: RateLimits { overrides, ..RateLimits::default() }, ..Config::default() }
}

fn user(roles: &[&str]) -> Principal {
    let new_id = || kit::ClockAndRng::system().new_id();
    let (never, nothing) = (Timestamp::from_micros(0), Vec::new());
    Principal::User(Arc::new(UserSession {
        user: new_id(),
        id: new_id(),
        roles: texts(roles),
        scopes: nothing.clone(),
        authenticated: never,
        methods: nothing,
        expires: never,
    }))
}

fn read(config: &Config, policies: &Table) -> Result<Overrides, String> {
    Overrides::new(&config.rate_limits, KnownMethods { policies, external: &config.external, own: None })
}

/// How many calls of `PATH` a minute allows a caller with this address, API key and roles.
fn allowed(config: &Config, address: &str, api_key: Option<&str>, roles: &[&str]) -> u32 {
    allowed_to(config, Client::Known(address.parse().unwrap()), api_key, roles)
}

fn allowed_to(config: &Config, client: Client, api_key: Option<&str>, roles: &[&str]) -> u32 {
    let table = table();
    let overrides = read(config, &table).unwrap();
    let method_limits = MethodLimits::new(PATH, table.get(PATH), By::Caller, config, &overrides);
    let headers: HeaderMap =
        api_key.iter().map(|key| (HeaderName::from_static("x-api-key"), key.parse().unwrap())).collect();
    let user = user(roles);
    let caller = Caller { principal: Some(&user), client, headers: &headers };
    method_limits.terms(&caller).rules[0].quota.requests()
}

#[test]
fn the_most_specific_override_applies() {
    // sha256 of "partner"
    let hash = fingerprint(b"partner").map(|byte| format!("{byte:02x}")).concat();
    let of = |requests, of: Override| Override { limits: vec![stated(requests)], ..of };
    let method = || texts(&["trellis.messaging.v1.MessagingService/SendMessage"]);
    let config = config(&[
        ("all", of(1, Override::default())),
        ("service", of(2, Override { methods: texts(&["trellis.messaging"]), ..Override::default() })),
        ("method", of(3, Override { methods: method(), ..Override::default() })),
        ("network", of(4, Override { addresses: texts(&["10.0.0.0/8", "2001:db8::/32"]), ..Override::default() })),
        ("role", of(5, Override { roles: texts(&["admin"]), ..Override::default() })),
        ("key", of(6, Override { api_keys: vec![hash], ..Override::default() })),
        ("other", of(7, Override { methods: texts(&["trellis.users"]), ..Override::default() })),
    ]);
    assert_eq!(allowed(&config, "192.0.2.1", None, &[]), 3);
    assert_eq!(allowed(&config, "10.1.2.3", None, &[]), 4);
    assert_eq!(allowed(&config, "2001:db8::1", None, &["user"]), 4);
    let unknown = Client::Unknown { proxy: "10.1.2.3".parse().unwrap() };
    assert_eq!(allowed_to(&config, unknown, None, &[]), 3, "an unknown client is not in its proxy's network");
    assert_eq!(allowed(&config, "10.1.2.3", None, &["user", "admin"]), 5);
    assert_eq!(allowed(&config, "10.1.2.3", Some("partner"), &["admin"]), 6);
    assert_eq!(allowed(&config, "192.0.2.1", Some("stranger"), &[]), 3);
}

#[test]
fn mistakes_name_their_key_and_never_a_secret() {
    let good = Override { limits: vec![stated(9)], ..Override::default() };
    let invalid = [
        (Override::default(), "limits: state one or more"),
        (Override { unlimited: true, ..good.clone() }, "limits: state one or more"),
        (Override { limits: vec![stated(9); 5], ..Override::default() }, "limits: 5 are more than the maximum of 4"),
        (Override { limits: vec![stated(0)], ..Override::default() }, "limits.requests: must be at least 1"),
        (Override { limits: vec![Stated { cost: 10, ..stated(9) }], ..Override::default() }, "limits.cost: 10"),
        (
            Override { limits: vec![Stated { by: "moon".to_owned(), ..stated(9) }], ..Override::default() },
            "limits.by: ",
        ),
        (
            Override { limits: vec![Stated { by: "header:x-a".to_owned(), ..stated(9) }], ..Override::default() },
            "limits: ",
        ),
        (Override { methods: texts(&["trellis.mesaging"]), ..good.clone() }, "methods: \"trellis.mesaging\""),
        (Override { addresses: texts(&["10.0.0.0/99"]), ..good.clone() }, "addresses: \"10.0.0.0/99\""),
        (Override { api_keys: texts(&["hunter2"]), ..good.clone() }, "api_keys: expected the SHA-256"),
        (Override { failure_mode: "panic".to_owned(), ..good }, "failure_mode: expected local or refuse"),
    ];
    for (of, expected) in invalid {
        let error = read(&config(&[("mine", of)]), &table()).err().unwrap();
        let key = "gateway.rate_limits.overrides.mine.";
        assert!(error.starts_with(&format!("{key}{expected}")) && !error.contains("hunter2"), "{error}");
    }
}

/// The error of an override of `method`, beside one upstream without descriptors and one with.
fn mistake(method: &str, streams: u32) -> String {
    let of = Override { methods: texts(&[method]), limits: vec![stated(9)], streams, ..Override::default() };
    let upstream =
        |descriptors: &str| ExternalConfig { descriptors: descriptors.to_owned(), ..ExternalConfig::default() };
    let mut config = config(&[("mine", of)]);
    config.external.insert("acme.shop".to_owned(), upstream(""));
    config.external.insert("acme.shop.described".to_owned(), upstream("reflection"));
    let error = read(&config, &table()).err().unwrap_or_default();
    error.strip_prefix("gateway.rate_limits.overrides.mine.").unwrap_or(&error).to_owned()
}

#[test]
fn override_of_a_missing_method_names_its_key() {
    for valid in [
        "trellis",
        "trellis.messaging.v1.MessagingService/",
        "acme",
        "acme.shop",
        "acme.shop.described.Cart/Add",
        "grpc.health.v1.Health",
        PATH.trim_start_matches('/'),
    ] {
        assert_eq!(mistake(valid, 0), "", "{valid}");
    }
    for unknown in
        ["trellis.mesaging", "acme.shops", "acme.bank.v1", "Cart/Add", "", "trellis.users.v1.UsersService/CreateUser"]
    {
        let error = mistake(unknown, 0);
        assert!(
            error.starts_with(&format!("methods: {unknown:?} is not a method or service that clients may call")),
            "{error}"
        );
    }
    for below in ["acme.shop.v1", "acme.shop.v1.Cart/Add"] {
        let error = mistake(below, 0);
        assert!(error.contains("gateway.external.\"acme.shop\", which has no descriptors"), "{below}: {error}");
    }
}

#[test]
fn stream_limit_of_methods_without_streams_names_its_key() {
    assert!(mistake("trellis.users", 3).starts_with("streams: the contract limits the streams of none"));
    assert_eq!(mistake("trellis.messaging", 3), "");
    assert_eq!(mistake("acme", 3), "");
}

#[test]
fn a_rule_counts_by_its_key_or_else_by_address() {
    let headers: HeaderMap = [("x-api-key", "k"), ("x-tenant", "t")]
        .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
        .into_iter()
        .collect();
    let (nothing, user) = (HeaderMap::new(), user(&[]));
    let method_limits = MethodLimits::new(PATH, None, By::Caller, &Config::default(), &Overrides::default());
    let here: IpAddr = "2001:db8:1:2::1".parse().unwrap();
    let neighbour: IpAddr = "2001:db8:1:2::2".parse().unwrap();
    let stranger = |address| Caller { principal: None, client: Client::Known(address), headers: &nothing };
    for by in [By::Caller, By::Address, By::Session, By::ApiKey, By::Header("x-tenant".to_owned())] {
        let rule = Rule::new(PATH, &by, Quota::new(1, Duration::from_secs(1), 1), 1);
        let known = |address| {
            method_limits
                .key(&rule, &Caller { principal: Some(&user), client: Client::Known(address), headers: &headers })
        };
        let by_address = method_limits.key(&rule, &stranger(here));
        assert_eq!(by_address, method_limits.key(&rule, &stranger(neighbour)), "{by}");
        assert_eq!(known(here) == by_address, by == By::Address, "{by}");
        let unknown = |proxy| Caller { principal: None, client: Client::Unknown { proxy }, headers: &nothing };
        assert_ne!(method_limits.key(&rule, &unknown(here)), by_address, "{by}: an unknown client is not its proxy");
        assert_eq!(method_limits.key(&rule, &unknown(here)), method_limits.key(&rule, &unknown(neighbour)), "{by}");
        let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(known(here) == known(elsewhere), by != By::Address, "{by}");
    }
}

/// The key of a rule, for each kind of caller.
#[test]
fn each_principal_has_the_bucket_of_its_kind() {
    let (headers, client) = (HeaderMap::new(), Client::Known("192.0.2.1".parse().unwrap()));
    let method_limits = MethodLimits::new(PATH, None, By::Caller, &Config::default(), &Overrides::default());
    let key = |by: &By, principal: Option<&Principal>| {
        let rule = Rule::new(PATH, by, Quota::new(1, Duration::from_secs(1), 1), 1);
        method_limits.key(&rule, &Caller { principal, client, headers: &headers })
    };
    let one = user(&[]);
    let Principal::User(session) = &one else { panic!("{one:?}") };
    let in_other_session = Principal::User(Arc::new(UserSession {
        id: kit::ClockAndRng::system().new_id(),
        ..UserSession::clone(session)
    }));
    let other = user(&[]);
    let [auth, users] = ["auth", "users"].map(|name| Principal::Service(MeshService::new(name)));
    // By caller: one bucket for each user and each service.
    let by_caller = |principal| key(&By::Caller, principal);
    assert_eq!(by_caller(Some(&one)), by_caller(Some(&in_other_session)));
    let all = [None, Some(&one), Some(&other), Some(&auth), Some(&users)].map(by_caller);
    assert_eq!(BTreeSet::from(all).len(), all.len());
    // By session: one bucket for each session; principals without one are counted by address.
    let by_session = |principal| key(&By::Session, principal);
    let all = [None, Some(&one), Some(&in_other_session), Some(&other)].map(by_session);
    assert_eq!(BTreeSet::from(all).len(), all.len());
    assert_eq!(by_session(Some(&auth)), by_session(None));
    // By address: one bucket for all.
    assert_eq!(key(&By::Address, Some(&one)), key(&By::Address, None));
}

#[test]
fn a_wide_network_has_a_multiple_of_the_quota() {
    let method_limits = MethodLimits::new(PATH, None, By::Address, &Config::default(), &Overrides::default());
    let limits = [RateLimit { quota: Quota::new(2, Duration::from_secs(60), 2), cost: 1, by: By::Address }];
    let terms = Terms::new(PATH, &limits, None, FailureMode::Local, String::new(), Fields::Always);
    let limiter = kit::limiter::LocalLimiter::new(Arc::new(ManualClock::new(Timestamp::from_micros(0))));
    let nothing = HeaderMap::new();
    let admitted = |address: String| {
        let caller = Caller { principal: None, client: Client::Known(address.parse().unwrap()), headers: &nothing };
        let buckets = method_limits.limits(&terms, &caller, &Multiples::default());
        let ask = Ask { scope: PATH, limits: buckets.limits(), failure_mode: FailureMode::Local };
        let EventualDecision::Now(decision) = limiter.decide(&ask) else { panic!("the limiter is local") };
        decision.is_admitted()
    };
    // Two for each /64, eight for the /56, thirty-two for the /48.
    let of_56 = (0..256).filter(|subnet| admitted(format!("2001:db8:1:{subnet:x}::1"))).count();
    assert_eq!(of_56, 8);
    let of_48 = (256..65_536).step_by(64).filter(|subnet| admitted(format!("2001:db8:1:{subnet:x}::1"))).count();
    assert_eq!(of_48, 24, "and eight before");
    assert!(admitted("2001:db8:2::1".to_owned()), "another /48");
    let of_24 = (0..256).filter(|host| admitted(format!("192.0.2.{host}"))).count();
    assert_eq!(of_24, 32);
    assert!(admitted("192.0.3.1".to_owned()));
}

#[test]
fn rate_limit_headers_follow_the_draft() {
    let limits = [
        RateLimit { quota: Quota::new(600, Duration::from_secs(60), 100), cost: 1, by: By::Caller },
        RateLimit { quota: Quota::count(1_000, Duration::from_secs(86_400)), cost: 1, by: By::Caller },
        RateLimit { quota: Quota::new(5, Duration::from_millis(500), 5), cost: 1, by: By::Address },
    ];
    let terms = Terms::new(PATH, &limits, None, FailureMode::Local, String::new(), Fields::Refused);
    let policy = "\"caller-1m\";q=600;w=60, \"caller-1d\";q=1000;w=86400, \"address-500ms\";q=5";
    assert_eq!(terms.policy.clone().unwrap(), policy);
    let mut limit_states = [Default::default(); MOST_LIMITS];
    limit_states[0] = kit::limiter::LimitState { left: 7, reset: Duration::from_millis(1_001) };
    let mut decision = kit::limiter::Decision { outcome: Outcome::Admitted, limit_states };
    let mut buckets = Buckets::default();
    (0..3).for_each(|rule| buckets.push(rule, Limit::NONE));
    assert!(terms.headers(&decision, &buckets).is_none(), "only refusals have the headers");
    decision.outcome = Outcome::Refused { retry_after: Duration::from_secs(1) };
    let mut headers = HeaderMap::new();
    terms.headers(&decision, &buckets).unwrap().put(&mut headers);
    assert_eq!(headers["ratelimit"], "\"caller-1m\";r=7;t=2, \"caller-1d\";r=0;t=0, \"address-500ms\";r=0;t=0");
    assert_eq!(headers["ratelimit-policy"], policy);
}

#[test]
fn limits_in_force_are_shown_with_their_source() {
    let config = config(&[(
        "partners",
        Override {
            roles: texts(&["partner"]),
            limits: vec![Stated { count: true, ..stated(9) }],
            ..Override::default()
        },
    )]);
    let table = table();
    let overrides = read(&config, &table).unwrap();
    let rows = MethodLimits::new(PATH, table.get(PATH), By::Caller, &config, &overrides).rows();
    let row = |at: usize| rows[at].join(" | ");
    assert_eq!(row(0), "rate limit | 1200 per 1m per caller, burst 300 | contract");
    let source = "gateway.rate_limits.overrides.partners";
    let wanted = "9 per caller in each 1m from the first call on (role partner, override partners)";
    assert_eq!(row(1), format!("rate limit | {wanted} | {source}"));
}

#[test]
fn override_for_all_callers_replaces_the_shown_limit() {
    let some = Override { roles: texts(&["partner"]), limits: vec![stated(9)], ..Override::default() };
    let all = Override { limits: vec![stated(5)], ..Override::default() };
    let config = config(&[("partners", some), ("tight", all)]);
    let table = table();
    let overrides = read(&config, &table).unwrap();
    let rows = MethodLimits::new(PATH, table.get(PATH), By::Caller, &config, &overrides).rows();
    let limits: Vec<_> = rows.iter().filter(|row| row[0] == "rate limit").map(|row| row[1].as_str()).collect();
    let wanted = ["5 per 1m per caller (override tight)", "9 per 1m per caller (role partner, override partners)"];
    assert_eq!(limits, wanted);
}

/// The stream limit and failure mode of a method of the mesh whose contract is changed.
fn terms_of(change: impl FnOnce(&mut Policy)) -> (Option<u32>, FailureMode) {
    let mut policy = table().get(PATH).unwrap().clone();
    change(&mut policy);
    let config = Config::default();
    let method_limits = MethodLimits::new(PATH, Some(&policy), By::Caller, &config, &Overrides::default());
    let (user, headers) = (user(&[]), HeaderMap::new());
    let client = Client::Known("192.0.2.1".parse().unwrap());
    let terms = method_limits.terms(&Caller { principal: Some(&user), client, headers: &headers });
    (terms.streams.as_ref().map(|(most, _)| *most), terms.failure_mode)
}

#[test]
fn contract_of_a_method_limits_its_streams() {
    let limit = kit::policy::StreamLimit { streams: 3, by: By::Caller };
    assert_eq!(terms_of(|policy| policy.stream_limit = None).0, None);
    assert_eq!(terms_of(|policy| policy.stream_limit = Some(limit)).0, Some(3));
}

#[test]
fn contract_of_a_method_sets_its_failure_mode() {
    use proto::policy::v1::LimiterFailureMode;
    for (failure_mode, expected) in
        [(LimiterFailureMode::Unspecified, FailureMode::Local), (LimiterFailureMode::Refuse, FailureMode::Refuse)]
    {
        assert_eq!(terms_of(|policy| policy.failure_mode = failure_mode.into()).1, expected);
    }
}
