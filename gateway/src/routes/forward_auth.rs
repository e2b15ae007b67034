//! The path of forward authentication (`gateway.forward_auth`).

use kit::{config::quoted, policy::Access, principal::UserSession};
use transcode::http_rule::Template;

use super::{
    Here, Method, Target,
    forms::own_paths,
    methods::{is_procedure, undeclared},
};
use crate::{
    config::{Config, FORWARD_AUTH, is_under},
    route_rules::{MethodRules, RouteRules},
};

/// The section of the configuration.
const KEY: &str = "gateway.forward_auth";

/// The path at which proxies ask about requests of their clients.
pub(crate) struct ForwardAuth {
    path: String,
    roles: Vec<String>,
    /// Its access, metrics and rate limits. Rules for methods do not apply. Nothing is sent to its target.
    pub(crate) method: Method,
}

impl ForwardAuth {
    /// `None`: it is switched off. Errors name the key. `has_mesh`: whether access tokens can be verified.
    pub(super) fn new(config: &Config, rules: &RouteRules, has_mesh: bool) -> Result<Option<Self>, String> {
        check(config, !has_mesh)?;
        let of = &config.forward_auth;
        if of.path.is_empty() {
            return Ok(None);
        }
        let method = undeclared(FORWARD_AUTH, Target::Here(Here::default()), Access::SIGNED_IN, config, rules);
        let method = Method { rules: MethodRules::default(), ..method };
        Ok(Some(Self { path: of.path.clone(), roles: of.roles.clone(), method }))
    }

    /// Whether it has this path.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        self.path == path
    }

    /// Whether the user has one of the roles that it requires.
    pub(crate) fn allows(&self, session: &UserSession) -> bool {
        self.roles.is_empty() || self.roles.iter().any(|role| session.roles.contains(role))
    }
}

/// Checks the section, of a gateway that knows no auth service if it is `without_users`. Errors name the key.
pub(crate) fn check(config: &Config, without_users: bool) -> Result<(), String> {
    let of = &config.forward_auth;
    if of.path.is_empty() {
        return check_unused(config);
    }
    if without_users {
        return Err(format!("{KEY}.path: this gateway has no mesh, whose auth service issues the access tokens"));
    }
    if of.roles.iter().any(String::is_empty) {
        return Err(format!("{KEY}.roles: a role is empty, which no user has"));
    }
    check_path(config).map_err(|why| format!("{KEY}.path: {:?} {why}", of.path))
}

/// Without a path nothing else may depend on it.
fn check_unused(config: &Config) -> Result<(), String> {
    if !config.forward_auth.roles.is_empty() {
        return Err(format!("{KEY}.path: is empty, so that the section has no effect"));
    }
    let names_it = |methods: &[String]| methods.iter().any(|method| method == FORWARD_AUTH);
    match config.rate_limits.overrides.iter().find(|(_, of)| names_it(&of.methods)) {
        Some((name, _)) => Err(format!(
            "gateway.rate_limits.overrides.{}.methods: {FORWARD_AUTH:?} has no effect, because {KEY}.path is empty",
            quoted(name)
        )),
        None => Ok(()),
    }
}

fn check_path(config: &Config) -> Result<(), String> {
    let path = &config.forward_auth.path;
    let is_segment = |segment: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !["", ".", ".."].contains(&segment) && segment.bytes().all(is_plain)
    };
    let rest = path.strip_prefix('/').filter(|rest| rest.split('/').all(is_segment));
    let service = rest.and_then(|rest| rest.split('/').next());
    let template = Template::parse(path).ok();
    let Some((service, template)) = service.zip(template) else {
        return Err("is not a path of letters, digits and -._~ between slashes, such as /forward-auth".to_owned());
    };
    if let Some((own, _)) = own_paths("").iter().find(|(own, _)| own.overlaps(&template)) {
        return Err(format!("is a path that the gateway serves already: {own}"));
    }
    if is_procedure(path) || config.external.keys().any(|prefix| is_under(prefix, service)) {
        return Err("is the path of a method in gRPC".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ExternalConfig, ForwardAuthConfig, Override};

    fn config(path: &str, roles: &[&str]) -> Config {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let external = [("shop".to_owned(), ExternalConfig::default())].into();
        Config { forward_auth: ForwardAuthConfig { path: path.to_owned(), roles }, external, ..Config::default() }
    }

    #[test]
    fn path_is_plain_and_of_nothing_else() {
        for path in ["/forward-auth", "/auth/check", "/a.b", "/.verify", "/auth/v1.2/check"] {
            assert_eq!(check(&config(path, &["admin"]), false), Ok(()), "{path}");
        }
        for path in [
            "/",
            "a",
            "//",
            "/a/",
            "/a//b",
            "/./a",
            "/a/..",
            "/a b",
            "/a?b",
            "/a%62",
            "/{a}",
            "/*",
            "/a:b",
            "/ä",
            "/livez",
            "/readyz",
            "/graphql",
            "/graphiql",
            "/docs/a",
            "/openapi.json",
            "/.well-known/auth",
            "/acme.v1.Shop/Buy",
            "/shop/Buy",
            "/shop.v1/a",
        ] {
            let error = check(&config(path, &[]), false).expect_err(path);
            assert!(error.starts_with("gateway.forward_auth.path: "), "{error}");
        }
    }

    #[test]
    fn setting_without_an_effect_is_an_error() {
        assert_eq!(check(&config("", &[]), false), Ok(()));
        assert!(check(&config("", &["admin"]), false).is_err());
        assert!(check(&config("/forward-auth", &[""]), false).is_err());
        let methods = vec![FORWARD_AUTH.to_owned()];
        let mut limited = config("", &[]);
        limited.rate_limits.overrides.insert("a".to_owned(), Override { methods, ..Override::default() });
        assert!(check(&limited, false).unwrap_err().starts_with("gateway.rate_limits.overrides.a.methods: "));
        limited.forward_auth.path = "/forward-auth".to_owned();
        assert_eq!(check(&limited, false), Ok(()));
    }

    #[test]
    fn gateway_without_a_mesh_has_no_forward_auth() {
        let (config, rules) = (config("/forward-auth", &[]), RouteRules::default());
        assert!(ForwardAuth::new(&config, &rules, true).is_ok_and(|it| it.is_some_and(|it| it.is_at("/forward-auth"))));
        assert!(ForwardAuth::new(&config, &rules, false).is_err() && check(&config, true).is_err());
        assert!(ForwardAuth::new(&Config::default(), &rules, false).is_ok_and(|it| it.is_none()));
    }
}
