//! The configuration of the whole binary: one section a part.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use kit::{
    balance::{self, Addresses},
    bus, config, limiter,
    limits::Limits,
    shutdown, telemetry, trace,
};
use serde::{Deserialize, Serialize};

/// The variable that names the configuration file.
pub(crate) const FILE_VARIABLE: &str = "TRELLIS_CONFIG";

/// What can be configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where embedded databases and generated keys live. Empty: `$XDG_DATA_HOME/trellis`.
    pub(crate) data_dir: String,
    /// What is logged.
    pub(crate) log: telemetry::Config,
    /// Where traces go.
    pub(crate) trace: trace::Config,
    /// What a process accepts.
    pub(crate) limits: Limits,
    /// The way down.
    pub(crate) shutdown: shutdown::Config,
    /// Metrics, verbose health, log level.
    pub(crate) admin: Admin,
    /// Who this process is, when it runs one service.
    pub(crate) identity: Identity,
    /// Where the other services are, when this process runs one.
    pub(crate) peers: Peers,
    /// How what has several endpoints is called.
    pub(crate) balance: balance::Config,
    /// What replicas share.
    pub(crate) redis: bus::Config,
    /// How limits are counted together.
    pub(crate) limiter: limiter::Config,
    /// Profiles.
    pub(crate) users: users::Config,
    /// Accounts and sessions.
    pub(crate) auth: auth::Config,
    /// Conversations.
    pub(crate) messaging: messaging::Config,
    /// The way in.
    pub(crate) gateway: gateway::Config,
}

/// The section `[admin]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Where the admin listener is. Nobody is asked who they are there: keep it off public networks.
    pub(crate) listen: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9090".to_owned() }
    }
}

/// The section `[identity]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Identity {
    /// The private key, as `trellis keys new` writes it.
    pub(crate) key_file: String,
    /// A folder with the public key of each service: `<name>.pub`.
    pub(crate) trusted_dir: String,
    /// Public keys by service, beside those of the folder.
    pub(crate) trusted: BTreeMap<String, String>,
}

/// The section `[peers]`: `http://host:port` each, one or several. A name stands for all addresses that DNS has for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Peers {
    /// The users service.
    pub(crate) users: Addresses,
    /// The auth service.
    pub(crate) auth: Addresses,
    /// The messaging service.
    pub(crate) messaging: Addresses,
}

impl Default for Peers {
    fn default() -> Self {
        let local = |port: u16| Addresses::from(format!("http://127.0.0.1:{port}"));
        Self { users: local(7001), auth: local(7002), messaging: local(7003) }
    }
}

impl Config {
    /// Reads it from the file, the environment and the flags.
    pub(crate) fn load(file: Option<&Path>, flags: &[String]) -> Result<Self, String> {
        let config: Self = config::load(self::file(file).as_deref(), flags).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// What types cannot say.
    fn check(&self) -> Result<(), String> {
        let Limits { message_bytes, header_bytes, connections, streams_per_connection, calls_in_flight, .. } =
            self.limits;
        let least = [
            // What responses take that are no pages: the contacts of a user, 10 000 ids.
            ("limits.message_bytes", message_bytes, 512 * 1024),
            ("limits.header_bytes", header_bytes as usize, 8_192),
            ("limits.connections", connections, 1),
            ("limits.streams_per_connection", streams_per_connection as usize, 1),
            ("limits.calls_in_flight", calls_in_flight, 1),
            ("users.pool_size", self.users.pool_size as usize, 1),
            ("auth.pool_size", self.auth.pool_size as usize, 1),
            // 0 would be read as 1.
            ("auth.attempts_by_address", self.auth.attempts_by_address as usize, 1),
            ("auth.attempts", self.auth.attempts as usize, 1),
            ("auth.attempts_from_address", self.auth.attempts_from_address as usize, 1),
            ("auth.refreshes", self.auth.refreshes as usize, 1),
            ("auth.refreshes_from_address", self.auth.refreshes_from_address as usize, 1),
            ("messaging.pool_size", self.messaging.pool_size as usize, 1),
            ("messaging.conversations_per_user", self.messaging.conversations_per_user as usize, 1),
            ("messaging.listed_rows_per_user", self.messaging.listed_rows_per_user as usize, 1),
            ("gateway.connections_per_address", self.gateway.connections_per_address, 1),
            ("gateway.stalled_answers", self.gateway.stalled_answers, 1),
            ("gateway.listen", self.gateway.listen.len(), 1),
        ];
        let times = [
            ("limits.request_head", self.limits.request_head),
            ("limits.keepalive", self.limits.keepalive),
            ("limits.deadline", self.limits.deadline),
            ("gateway.idle_timeout", self.gateway.idle_timeout),
            ("gateway.stall_timeout", self.gateway.stall_timeout),
            ("gateway.descriptors_refresh", self.gateway.descriptors_refresh),
            ("messaging.heartbeat", self.messaging.heartbeat),
            ("messaging.users_timeout", self.messaging.users_timeout),
            ("messaging.invitation_lifetime", self.messaging.invitation_lifetime),
        ];
        // Of no time at all nobody gets anything done; none of them is turned off by it.
        if let Some((key, _)) = times.into_iter().find(|(_, time)| time.0.is_zero()) {
            return Err(format!("configuration: {key}: 0s is too short; it cannot be turned off"));
        }
        match least.into_iter().find(|(_, value, least)| value < least) {
            Some((key, value, least)) => Err(format!("configuration: {key}: {value} is below the least, {least}")),
            None => {
                let checked =
                    self.balance.check().and_then(|()| self.redis.check()).and_then(|()| self.limiter.check());
                checked.map_err(|error| format!("configuration: {error}"))
            }
        }
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, String> {
        if !self.data_dir.is_empty() {
            return Ok(PathBuf::from(&self.data_dir));
        }
        let base = variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base = base.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".local/share")));
        let base = base.ok_or("neither data_dir nor XDG_DATA_HOME nor HOME says where data may live")?;
        Ok(base.join("trellis"))
    }
}

/// The file that holds the configuration: the one that the command line names, else the variable.
pub(crate) fn file(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| variable(FILE_VARIABLE).map(PathBuf::from))
}

#[expect(clippy::disallowed_methods, reason = "this is a config module")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
