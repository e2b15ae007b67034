use super::*;
use crate::http_rule::template::Template;

/// A router of routes like `GET /v1/{id}`, and lookups of requests like `GET /v1/7`.
struct Routes {
    lines: Vec<&'static str>,
    templates: Vec<Template>,
    router: Router,
}

impl Routes {
    fn new(lines: &[&'static str]) -> Self {
        let templates: Vec<_> = lines.iter().map(|line| Template::parse(parts(line).1).unwrap()).collect();
        let routes: Vec<_> = lines.iter().zip(&templates).map(|(line, template)| (parts(line).0, template)).collect();
        let router = Router::build(&routes).unwrap();
        Self { lines: lines.to_vec(), router, templates }
    }

    /// `404`, `405 GET, HEAD`, `414`, `options GET`, or the route with the raw values of its variables.
    fn find(&self, request: &str) -> String {
        let (method, path) = parts(request);
        match self.router.find(method, path) {
            Lookup::Found(found) => {
                let template = &self.templates[found.route];
                let values = template
                    .variables
                    .iter()
                    .map(|variable| format!(" {}={}", variable.field, &path[found.captured(variable)]));
                format!("{}{}", self.lines[found.route], values.collect::<String>())
            }
            Lookup::MethodNotAllowed(allow) => format!("405 {allow}"),
            Lookup::Options(allow) => format!("options {allow}"),
            Lookup::NotFound => "404".to_owned(),
            Lookup::TooLong => "414".to_owned(),
        }
    }

    fn check(&self, lookups: &[(&str, &str)]) {
        for (request, found) in lookups {
            assert_eq!(self.find(request), *found, "{request}");
        }
    }
}

fn parts(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap()
}

fn refused(lines: &[&str]) -> Refused {
    let templates: Vec<_> = lines.iter().map(|line| Template::parse(parts(line).1).unwrap()).collect();
    let routes: Vec<_> = lines.iter().zip(&templates).map(|(line, template)| (parts(line).0, template)).collect();
    Router::build(&routes).map(|_| ()).unwrap_err()
}

#[test]
fn examples_of_the_http_rule_page_match() {
    Routes::new(&[
        "GET /v1/{name=messages/*}",
        "GET /v2/messages/{message_id}",
        "PATCH /v2/messages/{message_id}",
        "GET /v2/users/{user_id}/messages/{message_id}",
    ])
    .check(&[
        ("GET /v1/messages/123456", "GET /v1/{name=messages/*} name=messages/123456"),
        ("GET /v2/messages/123456", "GET /v2/messages/{message_id} message_id=123456"),
        ("PATCH /v2/messages/123456", "PATCH /v2/messages/{message_id} message_id=123456"),
        (
            "GET /v2/users/me/messages/123456",
            "GET /v2/users/{user_id}/messages/{message_id} user_id=me message_id=123456",
        ),
        ("GET /v1/messages", "404"),
        ("GET /v1/messages/1/2", "404"),
        ("GET /v1/other/1", "404"),
    ]);
}

#[test]
fn literal_comes_before_star_and_star_before_rest() {
    Routes::new(&["GET /**", "GET /v1/{rest=**}", "GET /v1/{a}/x", "GET /v1/users/{b}", "GET /v1/users/me", "GET /v1"])
        .check(&[
            ("GET /", "GET /**"),
            ("GET /v2/x/y", "GET /**"),
            ("GET /v1", "GET /v1"),
            ("GET /v1/users/me", "GET /v1/users/me"),
            ("GET /v1/users/x", "GET /v1/users/{b} b=x"),
            ("GET /v1/groups/x", "GET /v1/{a}/x a=groups"),
            ("GET /v1/groups/y", "GET /v1/{rest=**} rest=groups/y"),
            ("GET /v1/users/me/x", "GET /v1/{rest=**} rest=users/me/x"),
            ("GET /v1/users", "GET /v1/{rest=**} rest=users"),
        ]);
}

#[test]
fn rest_may_be_empty() {
    Routes::new(&["GET /a/{x=**}", "GET /b/{x=c/**}", "POST /a/{x=**}:run"]).check(&[
        ("GET /a", "GET /a/{x=**} x="),
        ("GET /a/1/2/3", "GET /a/{x=**} x=1/2/3"),
        ("GET /b/c", "GET /b/{x=c/**} x=c"),
        ("GET /b/c/d", "GET /b/{x=c/**} x=c/d"),
        ("GET /b", "404"),
        ("POST /a:run", "POST /a/{x=**}:run x="),
        ("POST /a/1/2:run", "POST /a/{x=**}:run x=1/2"),
        ("GET /a/1/2:run", "GET /a/{x=**} x=1/2:run"),
    ]);
}

#[test]
fn verbs_end_at_the_last_colon() {
    Routes::new(&["GET /v1/{id}", "POST /v1/{id}:cancel", "POST /v1:run", "GET /v1", "POST /v2/{id}"]).check(&[
        ("POST /v1/7:cancel", "POST /v1/{id}:cancel id=7"),
        ("POST /v1/7:8:cancel", "POST /v1/{id}:cancel id=7:8"),
        ("POST /v1/7:c%61ncel", "POST /v1/{id}:cancel id=7"),
        ("GET /v1/7:cancel", "GET /v1/{id} id=7:cancel"),
        ("GET /v1/urn:isbn:7", "GET /v1/{id} id=urn:isbn:7"),
        ("POST /v2/7:cancel", "POST /v2/{id} id=7:cancel"),
        ("POST /v1:run", "POST /v1:run"),
        ("POST /v1%3Arun", "404"),
        ("POST /v1/7%3Acancel", "405 GET, HEAD, OPTIONS"),
        ("POST /v1/:cancel", "405 GET, HEAD, OPTIONS"),
        ("POST /v1/..:cancel", "405 GET, HEAD, OPTIONS"),
        ("GET /v1:run", "405 OPTIONS, POST"),
        ("GET /v1:other", "404"),
        ("POST /v1:", "404"),
    ]);
}

#[test]
fn other_methods_of_a_path_are_listed() {
    Routes::new(&["GET /v1/{id}", "DELETE /v1/me", "PATCH /v1/{id}", "GET /v1/me:x", "LINK /v2", "* /v3", "GET /v3"])
        .check(&[
            ("GET /v1/me", "GET /v1/{id} id=me"),
            ("DELETE /v1/me", "DELETE /v1/me"),
            ("DELETE /v1/7", "405 GET, HEAD, OPTIONS, PATCH"),
            ("PUT /v1/me", "405 DELETE, GET, HEAD, OPTIONS, PATCH"),
            ("OPTIONS /v1/7", "options GET, HEAD, OPTIONS, PATCH"),
            ("OPTIONS /v9", "404"),
            ("HEAD /v1/7", "GET /v1/{id} id=7"),
            ("HEAD /v2", "405 LINK, OPTIONS"),
            ("LINK /v2", "LINK /v2"),
            ("get /v1/7", "405 GET, HEAD, OPTIONS, PATCH"),
            ("GET /v3", "GET /v3"),
            ("BREW /v3", "* /v3"),
            ("OPTIONS /v3", "* /v3"),
            ("HEAD /v3", "* /v3"),
        ]);
}

#[test]
fn odd_paths_match_nothing() {
    let routes = Routes::new(&["GET /", "GET /v1/{a}", "GET /f/{x=**}"]);
    routes.check(&[
        ("GET /", "GET /"),
        ("GET /v1/", "404"),
        ("GET /v1/a/", "404"),
        ("GET //v1/a", "404"),
        ("GET /v1//a", "404"),
        ("GET /f/a//b", "404"),
        ("GET /f/a/", "404"),
        ("GET /v1/.", "404"),
        ("GET /v1/..", "404"),
        ("GET /v1/%2e%2E", "404"),
        ("GET /f/a/.%2e/b", "404"),
        ("GET /v1/...", "GET /v1/{a} a=..."),
        ("GET /v1/.a", "GET /v1/{a} a=.a"),
        ("GET v1/a", "404"),
        ("GET *", "404"),
        ("GET http://host/v1/a", "404"),
        ("OPTIONS *", "404"),
        ("GET ", "404"),
    ]);
}

#[test]
fn encoded_literals_match_and_slashes_do_not() {
    Routes::new(&["GET /v1/caf%C3%A9/{a}", "GET /v1/users"]).check(&[
        ("GET /v1/us%65rs", "GET /v1/users"),
        ("GET /v1%2Fusers", "404"),
        ("GET /v1/caf%c3%a9/a%2Fb", "GET /v1/caf%C3%A9/{a} a=a%2Fb"),
        ("GET /v1/café/x", "GET /v1/caf%C3%A9/{a} a=x"),
        ("GET /v1/us%6", "404"),
        ("GET /v1/Users", "404"),
    ]);
}

#[test]
fn long_paths_are_refused_early() {
    let routes = Routes::new(&["GET /f/{x=**}"]);
    let deep = |count: usize| format!("GET /f{}", "/a".repeat(count));
    assert!(routes.find(&deep(63)).starts_with("GET"));
    assert_eq!(routes.find(&deep(64)), "414");
    assert_eq!(routes.find(&format!("GET /f/{}", "a".repeat(8192))), "414");
    assert_eq!(routes.find(&format!("GET {}", "/".repeat(8192))), "404");
    assert!(routes.find(&format!("GET /f/{}", "%41".repeat(2000))).starts_with("GET"));
}

#[test]
fn routes_with_the_same_shape_conflict() {
    let pair = |first, second| Conflict { first, second };
    assert_eq!(refused(&["GET /v1/{a}", "GET /v1/{b=*}"]), Refused::Conflicts(vec![pair(0, 1)]));
    assert_eq!(
        refused(&["GET /v1/x:r", "POST /v1/x:r", "GET /v1/x:r", "GET /v1/%78:r"]),
        Refused::Conflicts(vec![pair(0, 2), pair(0, 3)])
    );
    // The same paths with another method, verb or specificity do not conflict.
    Routes::new(&["GET /v1/{a}", "PUT /v1/{a}", "* /v1/{a}", "GET /v1/{a}:v", "GET /v1/a", "GET /v1/{a=**}"]);
}

fn build(texts: &[String]) -> Result<Router, Refused> {
    let templates: Vec<_> = texts.iter().map(|text| Template::parse(text).unwrap()).collect();
    Router::build(&templates.iter().map(|template| ("GET", template)).collect::<Vec<_>>())
}

#[test]
fn large_tables_are_made() {
    let paths = |at: usize| {
        let base = format!("/v1/res{at}");
        [base.clone(), format!("{base}/{{id}}"), format!("{base}/{{id}}:run{at}"), format!("{base}/{{id=**}}")]
    };
    let texts: Vec<_> = (0..3000).flat_map(paths).chain(["/{rest=**}".into(), "/v1/{a}/{b}".into()]).collect();
    let router = build(&texts).unwrap();
    for at in [0, 1, 1234, 2999] {
        for (offset, path) in ["", "/x", "/x:run", "/x/y"].into_iter().enumerate() {
            let tail = if offset == 2 { at.to_string() } else { String::new() };
            let found = router.find("GET", &format!("/v1/res{at}{path}{tail}"));
            assert!(matches!(&found, Lookup::Found(found) if found.route == at * 4 + offset), "{at} {path}: {found:?}");
        }
    }
}

#[test]
fn overlapping_templates_are_bounded() {
    // After n segments that are all `x`, a state needs to know at which of them another template goes on.
    let texts: Vec<_> = (0..24).map(|at| format!("/{}x/{}end", "*/".repeat(at), "*/".repeat(40 - at))).collect();
    assert_eq!(build(&texts).map(|_| ()), Err(Refused::TooComplex));
}
