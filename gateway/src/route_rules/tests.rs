//! Which calls the rules admit.

use std::collections::BTreeMap;

use kit::{
    error::reason,
    policy::Table,
    principal::{ExternalUser, UserSession},
};
use tonic::Code;

use super::*;
use crate::config::{InFlightConfig, MaintenanceConfig, RequiredScopesConfig};

const SEND: &str = "/trellis.messaging.v1.MessagingService/SendMessage";
const CHECK: &str = "/grpc.health.v1.Health/Check";

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

fn in_flight(methods: &[&str], calls: u32) -> InFlightConfig {
    InFlightConfig { methods: texts(methods), calls, ..InFlightConfig::default() }
}

fn maintenance(methods: &[&str], message: &str) -> MaintenanceConfig {
    MaintenanceConfig { methods: texts(methods), message: message.to_owned(), ..MaintenanceConfig::default() }
}

fn config(limits: &[(&str, InFlightConfig)], works: &[(&str, MaintenanceConfig)]) -> Config {
    fn named<T: Clone>(all: &[(&str, T)]) -> BTreeMap<String, T> {
        all.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect()
    }
    Config { in_flight: named(limits), maintenance: named(works), ..Config::default() }
}

fn rules(config: &Config, counts: &InFlightCounts) -> Result<RouteRules, String> {
    let policies = Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    RouteRules::new(config, KnownMethods { policies: &policies, external: &config.external, own: None }, counts)
}

fn enter(rules: &MethodRules) -> Result<Option<InFlightPermit>, String> {
    rules.enter(|| 0.5).map_err(|status| reason(&status).unwrap())
}

#[test]
fn call_beyond_the_limit_is_refused_with_a_delay() {
    let counts = InFlightCounts::default();
    let rules = rules(&config(&[("few", in_flight(&["trellis.messaging"], 2))], &[]), &counts).unwrap();
    let method = rules.of(SEND);
    let (first, _second) = (enter(&method).unwrap(), enter(&method).unwrap());
    let Err(refusal) = method.enter(|| 1.0) else { panic!("two are in progress") };
    let metadata = ["retry-after", "grpc-retry-pushback-ms"].map(|name| refusal.metadata().get(name).unwrap());
    assert_eq!((refusal.code(), metadata[0].to_str().unwrap()), (Code::Unavailable, "2"));
    assert_eq!(metadata[1], "1500");
    drop(first);
    assert!(enter(&method).is_ok());
    assert!(rules.of("/trellis.users.v1.UsersService/GetUser").enter(|| 0.0).unwrap().is_none(), "it has no limit");
}

/// A refused call takes no place in the limits that would have admitted it.
#[test]
fn all_limits_of_a_method_admit_a_call_or_none_does() {
    let limits = [("a-wide", in_flight(&[], 2)), ("b-narrow", in_flight(&["trellis.messaging"], 1))];
    let rules = rules(&config(&limits, &[]), &InFlightCounts::default()).unwrap();
    let (send, other) = (rules.of(SEND), rules.of("/trellis.users.v1.UsersService/GetUser"));
    let _first = enter(&send).unwrap();
    for _ in 0..3 {
        assert_eq!(enter(&send).err().unwrap(), "CALLS_IN_FLIGHT_LIMITED");
    }
    let _second = enter(&other).unwrap();
    assert!(enter(&other).is_err());
    assert!(rules.of(CHECK).enter(|| 0.0).unwrap().is_none(), "probes reach the gateway");
}

#[test]
fn reload_keeps_the_count_of_calls_in_flight() {
    let counts = InFlightCounts::default();
    let read = |calls| rules(&config(&[("few", in_flight(&[], calls))], &[]), &counts).unwrap().of(SEND);
    let before = read(2);
    let calls = [enter(&before).unwrap(), enter(&before).unwrap()];
    let fewer = read(1);
    assert!(enter(&fewer).is_err());
    let more = read(3);
    let _third = enter(&more).unwrap();
    assert!(enter(&more).is_err());
    drop(calls);
    assert!(enter(&fewer).is_err(), "the third call is in progress");
    assert!(enter(&more).is_ok());
}

#[test]
fn most_specific_maintenance_refuses_calls() {
    let works = [
        ("a", maintenance(&[], "all")),
        ("b", maintenance(&["trellis.messaging.v1.MessagingService/SendMessage"], "send")),
        ("c", maintenance(&["trellis.messaging"], "messaging")),
        ("d", MaintenanceConfig { enabled: false, ..maintenance(&["trellis.users.v1.UsersService"], "users") }),
    ];
    let rules = rules(&config(&[], &works), &InFlightCounts::default()).unwrap();
    let message = |path: &str| {
        let refused = rules.of(path).check_maintenance(None, Client::Known([127, 0, 0, 1].into()));
        refused.err().map(|status| status.message().to_owned()).unwrap_or_default()
    };
    for (path, expected) in [
        (SEND, "send"),
        ("/trellis.messaging.v1.MessagingService/ListMessages", "messaging"),
        ("/trellis.users.v1.UsersService/GetUser", "all"),
        (CHECK, ""),
        ("grpc.health.v1.Health", ""),
    ] {
        assert_eq!(message(path), expected, "{path}");
    }
}

#[test]
fn allowed_callers_pass_maintenance() {
    let (allow_roles, allow_addresses) = (texts(&["operator"]), texts(&["10.0.0.0/8"]));
    let works = [("a", MaintenanceConfig { allow_roles, allow_addresses, ..maintenance(&[], "all") })];
    let rules = rules(&config(&[], &works), &InFlightCounts::default()).unwrap();
    let user = |roles: &[&str]| {
        let (id, never) = (kit::ClockAndRng::system().new_id(), kit::Timestamp::from_micros(0));
        let (roles, scopes, methods) = (texts(roles), Vec::new(), Vec::new());
        Principal::User(Arc::new(UserSession {
            user: id,
            id,
            roles,
            scopes,
            authenticated: never,
            methods,
            expires: never,
        }))
    };
    let passes =
        |principal: Option<&Principal>, client: Client| rules.of(SEND).check_maintenance(principal, client).is_ok();
    let (inside, outside) = (Client::Known([10, 1, 2, 3].into()), Client::Known([11, 1, 2, 3].into()));
    let (operator, visitor) = (user(&["operator"]), user(&["visitor"]));
    assert!(passes(None, inside) && passes(Some(&operator), outside));
    assert!(!passes(None, outside) && !passes(Some(&visitor), outside));
    assert!(!passes(None, Client::Unknown { proxy: [10, 0, 0, 1].into() }), "its address is unknown");
}

#[test]
fn invalid_rule_is_an_error_that_names_its_key() {
    let error = |limits: &[(&str, InFlightConfig)], works: &[(&str, MaintenanceConfig)]| {
        rules(&config(limits, works), &InFlightCounts::default()).err().expect("it is invalid")
    };
    for (config, expected) in [
        (in_flight(&[], 0), "gateway.in_flight.x.calls: 0 is not between"),
        (in_flight(&["acme"], 1), "gateway.in_flight.x.methods: \"acme\" is not a method"),
        (
            InFlightConfig { retry_after: kit::config::Span(Duration::ZERO), ..in_flight(&[], 1) },
            "gateway.in_flight.x.retry_after: ",
        ),
    ] {
        assert!(error(&[("x", config.clone())], &[]).starts_with(expected), "{config:?}");
    }
    for (config, expected) in [
        (maintenance(&[], ""), "gateway.maintenance.x.message: "),
        (maintenance(&[], "two\nlines"), "gateway.maintenance.x.message: "),
        (
            maintenance(&["grpc.health.v1.Health"], "a"),
            "gateway.maintenance.x.methods: \"grpc.health.v1.Health\" is served",
        ),
        (
            maintenance(&["grpc.health.v1.Health/Check"], "a"),
            "gateway.maintenance.x.methods: \"grpc.health.v1.Health/Check\" is",
        ),
        (
            MaintenanceConfig { allow_addresses: texts(&["home"]), ..maintenance(&[], "a") },
            "gateway.maintenance.x.allow_addresses: ",
        ),
    ] {
        assert!(error(&[], &[("x", config.clone())]).starts_with(expected), "{config:?}");
    }
}

#[test]
fn scopes_of_all_rules_that_cover_a_method_are_required() {
    let required =
        |methods: &[&str], scopes: &[&str]| RequiredScopesConfig { methods: texts(methods), scopes: texts(scopes) };
    let config = |sections: &[(&str, RequiredScopesConfig)]| Config {
        required_scopes: sections.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect(),
        ..Config::default()
    };
    let read = |sections: &[(&str, RequiredScopesConfig)]| rules(&config(sections), &InFlightCounts::default());
    let both = [
        ("a", required(&["trellis.messaging"], &["chat"])),
        ("b", required(&["trellis.messaging.v1.MessagingService/SendMessage"], &["write"])),
    ];
    let rules = read(&both).unwrap();
    let user = |scopes: &[&str]| {
        Principal::External(Arc::new(ExternalUser {
            issuer: "acme".into(),
            subject: "ada".to_owned(),
            scopes: texts(scopes),
            limit_key: String::new(),
            headers: Vec::new(),
            expires: kit::Timestamp::from_micros(0),
        }))
    };
    let passes = |path: &str, scopes: &[&str]| rules.of(path).check_scopes(&user(scopes)).is_ok();
    assert!(passes(SEND, &["write", "chat"]) && !passes(SEND, &["chat"]) && !passes(SEND, &["write"]));
    let list = "/trellis.messaging.v1.MessagingService/ListMessages";
    assert!(passes(list, &["chat"]) && !passes(list, &[]));
    assert!(!rules.of("/trellis.users.v1.UsersService/GetUser").needs_scopes());
    for (wrong, expected) in [
        (required(&[], &["a"]), "gateway.required_scopes.x.methods"),
        (required(&["trellis.messaging"], &[]), "gateway.required_scopes.x.scopes"),
        (required(&["trellis.messaging"], &["a b"]), "gateway.required_scopes.x.scopes"),
        (required(&["trellis.mesaging"], &["a"]), "gateway.required_scopes.x.methods"),
        (required(&["grpc.health"], &["a"]), "gateway.required_scopes.x.methods"),
    ] {
        let error = read(&[("x", wrong)]).err().unwrap();
        assert!(error.starts_with(expected), "{error}");
    }
}
