//! The configuration of Redis.

use std::time::Duration;

use deadpool_redis::redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Secret, Span},
    dns::{self, LookUp},
};

/// The section `[redis]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://…`, or `rediss://…` for TLS. Empty: wake-ups stay inside the process, which suits one replica of each
    /// part.
    pub url: Secret,
    /// Whether Redis is a Cluster. Wake-ups then use sharded pub/sub (Redis 7).
    pub cluster: bool,
    /// How often replicas poll the database while Redis is unreachable.
    pub poll_interval: Span,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { url: Secret::default(), cluster: false, poll_interval: Span(Duration::from_secs(2)) }
    }
}

/// The Redis that processes share.
#[derive(Clone)]
pub(crate) struct RedisServer {
    pub(crate) address: ConnectionInfo,
    pub(crate) cluster: bool,
    /// Resolves its name.
    pub(crate) look_up: LookUp,
}

impl RedisConfig {
    /// Checks the URL. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        self.server().map(drop)
    }

    /// The host to which the connection would be unencrypted.
    pub fn cleartext_host(&self) -> Option<String> {
        match self.server().ok()??.address.addr() {
            ConnectionAddr::Tcp(host, _) => Some(host.clone()),
            _ => None,
        }
    }

    /// The server, if one is configured.
    pub(crate) fn server(&self) -> Result<Option<RedisServer>, String> {
        let url = self.url.expose();
        if url.is_empty() {
            if self.cluster {
                return Err("redis.cluster: has no effect without redis.url; set the URL, or remove it".to_owned());
            }
            return Ok(None);
        }
        // The URL may contain a password, so the error does not repeat it.
        let tls = url.starts_with("rediss:");
        if !tls && !url.starts_with("redis:") {
            return Err("redis.url: expected redis://HOST:PORT/ or, for TLS, rediss://HOST:PORT/".to_owned());
        }
        // RESP3 lets one connection both publish and subscribe.
        let opened = url.into_connection_info().and_then(Client::open);
        let client = opened.map_err(|error| format!("redis.url: {error}"))?;
        let address = client.get_connection_info().clone();
        let settings = address.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let address = address.set_redis_settings(settings);
        Ok(Some(RedisServer { address, cluster: self.cluster, look_up: dns::system() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let config = RedisConfig { url: Secret::from(url.to_owned()), ..RedisConfig::default() };
        config.check().unwrap_err()
    }

    #[test]
    fn errors_are_one_line_without_the_password() {
        for url in ["hunter2", "http://u:hunter2@host/", "redis://u:hunter2@host:port/", "redis://u:hunter2@/x/y"] {
            let line = refused(url);
            assert!(line.starts_with("redis.url: ") && !line.contains("hunter2") && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn both_url_schemes_are_accepted() {
        for url in ["redis://127.0.0.1:6379/", "rediss://user:secret@cache.example.org:6380/1"] {
            let config = RedisConfig { url: Secret::from(url.to_owned()), ..RedisConfig::default() };
            assert!(config.server().unwrap().is_some(), "{url}");
        }
        assert!(RedisConfig::default().server().unwrap().is_none());
    }
}
