//! The configuration of the whole binary: one section per part.

#[cfg(test)]
mod documented;
mod effects;
mod ranges;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use kit::{
    admin,
    balance::{self, Addresses},
    config, limiter,
    limits::Limits,
    policy::Table as Policies,
    redis, shutdown, telemetry, tls, trace,
};
use kit_data::{audit, jobs, store};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{
    part::Part,
    services::{Service, services},
};

/// The variable that names the configuration file.
pub(crate) const FILE_VARIABLE: &str = "TRELLIS_CONFIG";

macro_rules! sections {
    ($($name:ident: $Type:ident,)+) => {
        /// The configuration.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct Config {
            /// The folder of embedded databases and generated keys. Empty: `$XDG_DATA_HOME/trellis`.
            pub(crate) data_dir: String,
            /// Logs.
            pub(crate) log: telemetry::LogConfig,
            /// The export of traces.
            pub(crate) trace: trace::TraceConfig,
            /// Limits on connections, calls and messages.
            pub(crate) limits: Limits,
            /// Graceful shutdown.
            pub(crate) shutdown: shutdown::ShutdownConfig,
            /// The admin listener: metrics, verbose health, log level.
            pub(crate) admin: admin::AdminConfig,
            /// The identity of this process when it runs one part.
            pub(crate) identity: Identity,
            /// TLS between the processes, when this one runs one part.
            pub(crate) tls: tls::TlsConfig,
            /// The addresses of the other services, when this process runs one part.
            pub(crate) peers: Peers,
            /// Load balancing over several endpoints.
            pub(crate) balance: balance::BalanceConfig,
            /// The Redis that replicas share.
            pub(crate) redis: redis::RedisConfig,
            /// The shared counting of rate limits.
            pub(crate) limiter: limiter::LimiterConfig,
            /// Timeouts of the databases.
            pub(crate) database: store::Config,
            /// The jobs of the services.
            pub(crate) jobs: jobs::JobsConfig,
            /// The audit logs of the services.
            pub(crate) audit: audit::AuditConfig,
            $(
                #[doc = concat!("The ", stringify!($name), " service.")]
                pub(crate) $name: ::$name::Config,
            )+
            /// The gateway.
            pub(crate) gateway: gateway::Config,
        }

        /// The section `[peers]`: one or several of `https://host:port` or `http://host:port` per service. A name stands
        /// for all addresses that DNS returns for it.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct Peers {
            $(
                #[doc = concat!("The ", stringify!($name), " service.")]
                pub(crate) $name: Addresses,
            )+
        }

        /// The addresses on which the services listen by default.
        impl Default for Peers {
            fn default() -> Self {
                Self { $($name: Addresses::from(format!("http://{}", ::$name::Config::default().listen)),)+ }
            }
        }
    };
}
services!(sections);

/// The section `[identity]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Identity {
    /// The file of the private key that `trellis keys new` wrote.
    pub(crate) key_file: String,
    /// A folder with the public key of each service: `<name>.pub`.
    pub(crate) trusted_dir: String,
    /// Public keys by service, in addition to those of the folder.
    pub(crate) trusted: BTreeMap<String, String>,
    /// The interval at which the process fetches the public keys of access tokens from auth.
    pub(crate) keys_refresh: config::Span,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            key_file: String::new(),
            trusted_dir: String::new(),
            trusted: BTreeMap::new(),
            keys_refresh: config::Span(Duration::from_secs(10)),
        }
    }
}

impl Config {
    /// Reads the file, the environment and the flags.
    pub(crate) fn load(file: Option<&Path>, flags: &[String]) -> Result<Self, String> {
        let config: Self =
            config::load(self::file(file).as_deref(), flags, &Self::schema()).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// The defaults, with an entry of each table whose keys the operator chooses.
    fn schema() -> Self {
        fn entry<T: Default>() -> BTreeMap<String, T> {
            [(config::ANY.to_owned(), T::default())].into()
        }
        let mut schema = Self::default();
        let gateway = &mut schema.gateway;
        gateway.rate_limits.overrides = entry();
        gateway.in_flight = entry();
        gateway.maintenance = entry();
        gateway.token_issuers = entry();
        gateway.required_scopes = entry();
        gateway.external = entry();
        schema
    }

    /// Whether a process of these parts has no mesh: a gateway to external upstreams, without a key of its own and
    /// without addresses of services.
    pub(crate) fn is_external_only(&self, parts: &[Part]) -> bool {
        parts == [Part::Gateway]
            && !self.gateway.external.is_empty()
            && self.identity == Identity::default()
            && self.peers == Peers::default()
    }

    /// Checks the rules that the types cannot express.
    fn check(&self) -> Result<(), String> {
        if self.gateway.listen.is_empty() {
            return Err("configuration: gateway.listen: is empty; the gateway needs at least one address".to_owned());
        }
        let table = Table::try_from(self).map_err(|e| e.to_string())?;
        let policies = Policies::from_descriptors(proto::DESCRIPTORS).map_err(|e| e.to_string())?;
        let shortest = policies.shortest_deadline(self.limits.deadline.0);
        let checks = [
            ranges::check(&table),
            self.log.check(),
            self.admin.check(),
            self.redis.check(),
            self.limiter.check(),
            self.check_services(),
            self.database.check(shortest),
            self.check_order(),
            effects::check(self),
        ];
        checks.into_iter().collect::<Result<(), _>>().map_err(|error| format!("configuration: {error}"))
    }

    /// Checks the sections of the services.
    fn check_services(&self) -> Result<(), String> {
        Service::ALL.iter().try_for_each(|service| {
            store::check_url(&format!("{}.database_url", service.name()), service.section(self).database_url)?;
            service.check(self)
        })
    }

    /// Rejects bounds that contradict each other.
    fn check_order(&self) -> Result<(), String> {
        let Self { auth, messaging, balance, jobs, .. } = self;
        let (retry, shed) = (&balance.retry, &balance.shed);
        let times = [
            ("auth.access_lifetime", auth.access_lifetime, "auth.refresh_lifetime", auth.refresh_lifetime),
            ("auth.refresh_lifetime", auth.refresh_lifetime, "auth.session_lifetime", auth.session_lifetime),
            ("balance.retry.backoff", retry.backoff, "balance.retry.most_backoff", retry.most_backoff),
            ("jobs.backoff", jobs.backoff, "jobs.most_backoff", jobs.most_backoff),
        ];
        if let Some((key, value, other, bound)) = times.into_iter().find(|(_, value, _, bound)| value.0 > bound.0) {
            return Err(format!("{key}: {value} is above {other}, {bound}"));
        }
        let (session, user) = (messaging.streams_per_session, messaging.streams_per_user);
        let counts = [
            ("messaging.streams_per_session", session, "messaging.streams_per_user", user),
            ("balance.shed.least_calls", shed.least_calls, "balance.shed.most_calls", shed.most_calls),
        ];
        match counts.into_iter().find(|(_, value, _, bound)| value > bound) {
            Some((key, value, other, bound)) => Err(format!("{key}: {value} is above {other}, {bound}")),
            None => Ok(()),
        }
    }

    /// The folder of auth's generated secrets, if `auth.keys_dir` is empty.
    pub(crate) fn generated_keys_dir(&self) -> Result<PathBuf, String> {
        Ok(self.data_dir()?.join("keys"))
    }

    /// Whether the key has no effect in this process without another key.
    pub(crate) fn is_idle(&self, key: &str) -> bool {
        effects::is_idle(self, key)
    }

    /// The output of `trellis config`: secrets are masked, the data folder is resolved, and `auto` has a comment with its
    /// effect.
    pub(crate) fn print(&self) -> Result<String, String> {
        // Without a home folder, only a process that needs the data folder fails.
        let data_dir = self.data_dir().map_or_else(|_| String::new(), |folder| folder.display().to_string());
        let text = config::print(&Self { data_dir, ..self.clone() }).map_err(|e| e.to_string())?;
        let open = "\ndirectory = \"auto\"\n";
        let why = "\n# \"all\" for `trellis` alone, which runs all parts; \"contacts\" for `trellis users`";
        Ok(text.replace(open, &format!("{why}{open}")))
    }

    /// The keys that differ from the defaults.
    pub(crate) fn set_keys(&self) -> Result<Vec<String>, String> {
        config::differences(&Self::default(), self).map_err(|e| e.to_string())
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, String> {
        if !self.data_dir.is_empty() {
            return Ok(PathBuf::from(&self.data_dir));
        }
        let base = variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base = base.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".local/share")));
        let base = base.ok_or("no folder for data: set data_dir, XDG_DATA_HOME or HOME")?;
        Ok(base.join("trellis"))
    }
}

/// The configuration file: the one on the command line, else the one in the environment variable.
pub(crate) fn file(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| variable(FILE_VARIABLE).map(PathBuf::from))
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
