//! Which target a path has.

use prost_reflect::DescriptorPool;

use super::*;

fn open(label: &str) -> Rest {
    let target = Target::Here(Here::default());
    Rest::Open(Box::new(undeclared(label, target, Access::Public, &Config::default(), &RouteRules::default())))
}

/// Two upstreams whose prefixes nest, one that is closed, and one of which no descriptors were read.
fn routes() -> Routes {
    let declared = "/acme.shop.v1.Cart/Add";
    let Rest::Open(method) = open(declared) else { unreachable!("it is open") };
    let mut methods = Methods::default();
    methods.insert(declared, *method);
    let rest = [
        ("acme", open("acme")),
        ("acme.shop", Rest::Nothing),
        ("acme.shop.v1.Closed", Rest::Closed),
        ("late", Rest::Unread),
    ];
    for (prefix, rest) in rest {
        methods.insert_rest(prefix, rest);
    }
    let registry = Registry::new(&DescriptorPool::new());
    Routes {
        methods,
        tables: Vec::new(),
        warnings: Vec::new(),
        http: HttpForms::new(Vec::new(), registry, &Config::default().json),
        unknown: here(UNKNOWN, &Config::default(), &RouteRules::default()),
        websocket: here(WEBSOCKET, &Config::default(), &RouteRules::default()),
        forward_auth: None,
        graphql: graphql(&Config::default(), &RouteRules::default()),
    }
}

fn found(routes: &Routes, path: &str) -> String {
    match routes.find(path) {
        Found::Method(method) => method.meter.method().to_owned(),
        Found::Closed => "closed".to_owned(),
        Found::Unread => "unread".to_owned(),
        Found::Undeclared => "undeclared".to_owned(),
        Found::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn longest_prefix_of_the_service_decides() {
    let routes = routes();
    for (path, expected) in [
        ("/acme.shop.v1.Cart/Add", "/acme.shop.v1.Cart/Add"),
        ("/acme.shop.v1.Cart/Remove", "undeclared"),
        ("/acme.shop/Add", "undeclared"),
        ("/acme.shop.v1.Closed/Add", "closed"),
        ("/acme.billing.v1.Invoice/Pay", "acme"),
        ("/acme/Pay", "acme"),
        ("/late.v1.Service/Method", "unread"),
        // A prefix ends at a dot.
        ("/acmeshop.v1.Cart/Add", "nothing"),
        ("/acme.shopping.v1.Cart/Add", "acme"),
        ("/shop.acme/Add", "nothing"),
    ] {
        assert_eq!(found(&routes, path), expected, "{path}");
    }
}

#[test]
fn malformed_path_belongs_to_no_upstream() {
    let routes = routes();
    for path in ["", "/", "//", "acme/Pay", "/acme", "/acme/", "/acme/Pay/", "/acme/Pay/Twice", "/./Pay", "/.acme/Pay"]
    {
        assert_eq!(found(&routes, path), "nothing", "{path}");
    }
}

#[test]
fn upstream_opens_only_declared_methods_of_its_own_prefix() {
    let routes = routes();
    let path = "/acme.shop.v1.Cart/Add";
    assert!(routes.opens(path, "acme.shop"));
    assert!(!routes.opens(path, "acme"), "the longer prefix owns it");
    assert!(!routes.opens("/acme.billing.v1.Invoice/Pay", "acme"), "it is not declared");
}

#[test]
fn results_of_upstreams_are_external() {
    let routes = routes();
    for (path, expected) in [
        ("/acme.shop.v1.Closed/Add", true),
        ("/acme.shop.v1.Cart/Remove", true),
        ("/late.v1.Service/Method", true),
        ("/nothing.v1.Service/Method", false),
        // The gateway serves it itself.
        ("/acme/Pay", false),
    ] {
        assert_eq!(routes.find(path).is_external(), expected, "{path}");
    }
}

#[test]
fn procedure_has_a_package_or_an_upstream() {
    let routes = routes();
    for (path, expected) in [
        ("/shop.v1.Cart/Add", true),
        ("/acme/Pay", true),
        ("/late.v1.Service/Method", true),
        ("/v1/things", false),
        ("/v1.2/things", false),
        ("/assets/a.b", false),
        ("/shop.v1.Cart/add:all", false),
        ("/shop.v1.Cart", false),
        ("/", false),
    ] {
        assert_eq!(routes.find(path).is_procedure(path), expected, "{path}");
    }
}
