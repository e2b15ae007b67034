//! Applies a changed configuration to the running process, on SIGHUP or when the file changes. Connections stay open.
//! An invalid configuration changes nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use gateway::Gateway;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{self, Config},
    part::Part,
};

/// The interval at which the process checks the file. It polls, because a mounted ConfigMap changes by a new symbolic
/// link.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The keys that take effect at once. All others take effect at the next start.
const AT_ONCE: [&str; 2] = ["gateway.", "log.level"];
/// The exceptions to [`AT_ONCE`].
const AT_START: [&str; 6] = [
    "gateway.listen",
    "gateway.tls.listen",
    "gateway.threads",
    "gateway.upstream_connections",
    "gateway.console",
    "gateway.graphql.automatic_persisted_bytes",
];

/// The sources of the configuration.
#[derive(Clone)]
pub(crate) struct Source {
    /// The file on the command line, if any.
    pub(crate) file: Option<PathBuf>,
    /// The `key=value` arguments of the command line.
    pub(crate) flags: Vec<String>,
}

impl Source {
    pub(crate) fn load(&self) -> Result<Config, String> {
        Config::load(self.file.as_deref(), &self.flags)
    }

    /// The keys that are set and have no effect in this process: command-line keys of parts that do not run here (a
    /// file may serve all parts), keys that only a process of one part reads, and keys that need another key.
    pub(crate) fn without_effect(&self, config: &Config, parts: &[Part]) -> Result<Vec<String>, String> {
        let runs = |section: &str| parts.iter().any(|part| part.name() == section);
        let is_part = |section: &str| Part::ALL.iter().any(|part| part.name() == section);
        let flags = self.flags.iter().filter_map(|flag| kit::config::split_flag(flag)).map(|(key, _)| key.to_owned());
        let elsewhere = flags.filter(|key| key.split('.').next().is_some_and(|first| is_part(first) && !runs(first)));
        let apart = config.set_keys()?.into_iter().filter(|key| {
            if config.is_idle(key) {
                return true;
            }
            let in_process = |part: &Part| key.strip_prefix("peers.").is_some_and(|name| name == part.name());
            let is_apart = key.starts_with("identity.") && key != "identity.keys_refresh" || key == "tls.ca";
            parts.len() > 1 && (is_apart || parts.iter().any(in_process))
        });
        Ok(elsewhere.chain(apart).collect())
    }
}

/// Reloads the configuration whenever it changes. Never returns. The version of the file counts from this call:
/// the file may change before the task first runs.
pub(crate) fn watch(source: Source, started: Config, gateway: Arc<Gateway>) -> impl Future<Output = ()> + Send {
    let file = config::file(source.file.as_deref());
    let mut seen = file.as_deref().and_then(version);
    async move {
        let mut reloads = Reloads::new(started);
        let mut hangup = signal(SignalKind::hangup()).expect("a handler for SIGHUP can be installed");
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {
                    let now = file.as_deref().and_then(version);
                    // A missing file is being replaced.
                    if now.is_none() || now == seen {
                        continue;
                    }
                }
            }
            seen = file.as_deref().and_then(version);
            if let Err(error) = apply(&source, &mut reloads, &gateway).await {
                tracing::error!(error, "the configuration is invalid; the previous one stays in force");
            }
        }
    }
}

/// The configuration in force: keys that take effect at once as the last reload has set them, all others as at the start.
struct Reloads {
    started: Config,
    last: Config,
    /// The keys whose last values differ from those at the start, without effect yet.
    pending: Vec<String>,
}

/// What a reload changes.
#[derive(Debug, PartialEq, Eq)]
struct Changes {
    at_once: Vec<String>,
    /// See [`Reloads::pending`].
    pending: Vec<String>,
}

impl Reloads {
    fn new(started: Config) -> Self {
        Self { last: started.clone(), started, pending: Vec::new() }
    }

    /// The changes of a reload to `wanted`.
    fn changes(&self, wanted: &Config) -> Result<Changes, String> {
        let differences = |from| kit::config::differences(from, wanted).map_err(|e| e.to_string());
        let (mut at_once, mut pending) = (differences(&self.last)?, differences(&self.started)?);
        at_once.retain(|key| takes_effect(key));
        pending.retain(|key| !takes_effect(key));
        Ok(Changes { at_once, pending })
    }
}

async fn apply(source: &Source, reloads: &mut Reloads, gateway: &Gateway) -> Result<(), String> {
    let wanted = source.load()?;
    let Changes { at_once, pending } = reloads.changes(&wanted)?;
    gateway.reload(&wanted.gateway).await.map_err(|error| format!("configuration: {error}"))?;
    if at_once.iter().any(|key| key == "log.level") {
        kit::telemetry::set_level(&wanted.log.level, "configuration")?;
    }
    tracing::info!(changed = at_once.join(", "), "the configuration was read again");
    if pending != reloads.pending {
        match &pending[..] {
            [] => tracing::info!("the configuration has no changes that need a restart any more"),
            keys => tracing::warn!(changed = keys.join(", "), "these changes take effect at the next start"),
        }
    }
    (reloads.last, reloads.pending) = (wanted, pending);
    Ok(())
}

fn takes_effect(key: &str) -> bool {
    AT_ONCE.iter().any(|prefix| key.starts_with(prefix)) && !AT_START.contains(&key)
}

/// Distinguishes versions of a file: modification time, length and inode.
fn version(path: &Path) -> Option<(SystemTime, u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_back_to_the_running_value_is_not_pending() {
        let mut reloads = Reloads::new(Config::default());
        let with = |threads, header_count| {
            let mut config = Config::default();
            (config.gateway.threads, config.gateway.header_count) = (threads, header_count);
            config.limits.reflection = threads == 0;
            config
        };
        let mut reload = |config: Config| {
            let mut changes = reloads.changes(&config).unwrap();
            changes.pending.sort();
            reloads.last = config;
            (changes.at_once.join(","), changes.pending.join(","))
        };
        let text = |at_once: &str, pending: &str| (at_once.to_owned(), pending.to_owned());
        let waits = "gateway.threads,limits.reflection";
        assert_eq!(reload(with(4, 50)), text("gateway.header_count", waits));
        assert_eq!(reload(with(4, 60)), text("gateway.header_count", waits), "it still waits");
        assert_eq!(reload(with(0, 60)), text("", ""), "the running value");
        assert_eq!(reload(with(0, 100)), text("gateway.header_count", ""));
    }
}
