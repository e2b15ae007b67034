//! Unencrypted connections that leave the machine. They are configuration errors, or one warning each if `tls.insecure`
//! states that the network encrypts.

use std::{fmt, net::IpAddr};

use crate::{config::Config, part::Part, services::Service, start_check::Scope};

/// An unencrypted connection.
struct Link {
    /// The configuration key that causes it.
    key: String,
    /// The destination, without secrets.
    to: String,
    fix: &'static str,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.to, self.fix)
    }
}

/// Refuses the unencrypted connections of a process, unless `tls.insecure` allows them.
pub(crate) fn check(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    let links = links(config, scope);
    if config.tls.insecure || links.is_empty() {
        return Ok(());
    }
    let links: Vec<_> = links.iter().map(Link::to_string).collect();
    Err(format!(
        "connections would leave this machine unencrypted: {}; or set tls.insecure = true if the network encrypts them",
        links.join("; ")
    ))
}

/// Logs the unencrypted connections that `tls.insecure` allows.
pub(crate) fn warn(config: &Config, parts: &[Part]) {
    for Link { key, to, fix } in links(config, Scope(parts)) {
        tracing::warn!(key, to, fix, "a connection leaves this machine unencrypted, as tls.insecure allows");
    }
}

fn links(config: &Config, scope: Scope<'_>) -> Vec<Link> {
    let mut links = Vec::new();
    for &service in Service::ALL {
        let name = service.name();
        let listen = service.section(config).listen;
        if scope.runs(Part::Service(service)) && config.tls.certificate.is_empty() && !is_local(host_of(listen)) {
            links.push(Link {
                key: format!("{name}.listen"),
                to: listen.to_owned(),
                fix: if scope.is_whole() {
                    "listen on 127.0.0.1, or run each part as its own process with tls.certificate and tls.key"
                } else {
                    "listen on 127.0.0.1, or set tls.certificate and tls.key"
                },
            });
        }
        if scope.calls(service) {
            let far = service.peers(&config.peers).iter().filter_map(|address| address.strip_prefix("http://"));
            for to in far.filter(|to| !is_local(host_of(to))).map(str::to_owned) {
                links.push(Link {
                    key: format!("peers.{name}"),
                    to,
                    fix: "use https://, and set tls.ca to its certificate authority",
                });
            }
        }
    }
    if let Some(to) = config.redis.cleartext_host().filter(|host| !is_local(host)) {
        links.push(Link { key: "redis.url".to_owned(), to, fix: "use rediss://" });
    }
    links
}

/// The `host` of `host:port` or `host:port/`. An IPv6 address is in brackets.
fn host_of(address: &str) -> &str {
    let authority = address.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl Fn(&mut Config), parts: &[Part]) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        links(&config, Scope(parts)).into_iter().map(|link| format!("{} {}", link.key, link.to)).collect()
    }

    #[test]
    fn cleartext_links_beyond_the_loopback_are_found() {
        let (auth, all) = ([Part::Service(Service::Auth)], Part::ALL);
        assert!(refused(|_| {}, all).is_empty() && refused(|_| {}, &auth).is_empty());
        let far = |config: &mut Config| {
            config.peers.users = "http://users:7001,https://users:7002,http://[::1]:7001".into();
            config.auth.listen = "0.0.0.0:7002".to_owned();
            config.redis.url = "redis://user:secret@cache:6379/".to_owned().into();
        };
        assert_eq!(refused(far, &auth), ["peers.users users:7001", "auth.listen 0.0.0.0:7002", "redis.url cache"]);
        assert_eq!(refused(far, &[Part::Gateway]), ["peers.users users:7001", "redis.url cache"]);
        assert_eq!(refused(far, all), ["auth.listen 0.0.0.0:7002", "redis.url cache"]);
        let with_tls = |config: &mut Config| {
            config.auth.listen = "[::]:7002".to_owned();
            config.tls.certificate = "tls.crt".to_owned();
            config.redis.url = "rediss://cache:6379/".to_owned().into();
        };
        assert!(refused(with_tls, &auth).is_empty());
    }

    #[test]
    fn refusal_names_keys_and_fixes_without_secrets() {
        let mut config = Config::default();
        config.redis.url = "redis://user:secret@cache:6379/".to_owned().into();
        config.users.listen = "192.0.2.1:7001".to_owned();
        let why = check(&config, Scope(Part::ALL)).unwrap_err();
        assert!(
            why.contains("users.listen (192.0.2.1:7001): listen on 127.0.0.1, or run each part as its own"),
            "{why}"
        );
        assert!(why.contains("redis.url (cache): use rediss://") && why.contains("tls.insecure"), "{why}");
        assert!(!why.contains("secret") && !why.contains('\n'), "{why}");
        let why = check(&config, Scope(&[Part::Service(Service::Users)])).unwrap_err();
        assert!(why.contains("listen on 127.0.0.1, or set tls.certificate and tls.key; redis.url"), "{why}");
        config.tls.insecure = true;
        assert_eq!(check(&config, Scope(Part::ALL)), Ok(()));
    }
}
