//! Parses log directives: a default level, then levels of single targets.
//!
//! This is stricter than `EnvFilter`, which reads a misspelt level as a target name and then logs nothing.

use tracing_subscriber::EnvFilter;

use super::AUDIT;
use crate::config::closest;

/// The default level if the directives give none.
const DEFAULT: &str = "info";
/// The default levels. `off` is not one of them: errors are always logged.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const EXPECTED: &str = "expected error, warn, info, debug or trace, and TARGET=LEVEL for single targets, such as \
                        info,gateway=debug,access=off";

/// The first parts of the targets that exist, beside the crates of the services: other crates of the mesh, targets of their
/// own, and libraries that log.
const TARGETS: &[&str] = &[
    "access",
    "audit",
    "axum",
    "gateway",
    "h2",
    "hickory_proto",
    "hyper",
    "hyper_util",
    "kit",
    "kit_data",
    "mio",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "passing",
    "redis",
    "rustls",
    "sqlx",
    "sqlx_core",
    "sqlx_postgres",
    "sqlx_sqlite",
    "tokio",
    "tonic",
    "tower",
    "tower_http",
    "trellis",
];

/// The filter for `text`, or a description of the error.
pub(super) fn parse(text: &str) -> Result<EnvFilter, String> {
    let directives = normalize(text).map_err(|what| format!("{what}; {EXPECTED}"))?;
    EnvFilter::try_new(format!("{directives},{AUDIT}=info")).map_err(|error| format!("{text:?}: {error}; {EXPECTED}"))
}

/// Puts exactly one default level in front of `text`.
fn normalize(text: &str) -> Result<String, String> {
    let (mut everything, mut targets) = (None, Vec::new());
    for directive in text.split(',').map(str::trim) {
        match directive.split_once('=') {
            Some((target, level)) => {
                if !is_target(target) {
                    return Err(format!("{directive:?} contains no valid target"));
                }
                check_known(target)?;
                let level = level_of(level).or_else(|| level.eq_ignore_ascii_case("off").then_some("off"));
                targets.push(format!(
                    "{target}={}",
                    level.ok_or_else(|| format!("{directive:?} contains no valid level"))?
                ));
            }
            None if directive.eq_ignore_ascii_case("off") => {
                return Err("\"off\" would also hide errors: the minimum is error".to_owned());
            }
            None => {
                let level = level_of(directive).ok_or_else(|| format!("{directive:?} is not a level"))?;
                if everything.replace(level).is_some() {
                    return Err(format!("{text:?} contains two default levels"));
                }
            }
        }
    }
    targets.insert(0, everything.unwrap_or(DEFAULT).to_owned());
    Ok(targets.join(","))
}

/// Refuses targets that do not exist, because a misspelled one would have no effect, and the level of the audit lines, which
/// are always logged.
fn check_known(target: &str) -> Result<(), String> {
    let name = target.split("::").next().unwrap_or(target);
    if name == AUDIT {
        return Err(format!("the target {AUDIT:?} is always logged"));
    }
    let known = || TARGETS.iter().copied().chain(proto::SERVICES);
    if known().any(|known| known == name) {
        return Ok(());
    }
    let suggestion = closest(name, known()).map(|known| format!(", did you mean {known:?}?"));
    Err(format!("the target {target:?} does not exist{}", suggestion.unwrap_or_default()))
}

fn level_of(word: &str) -> Option<&'static str> {
    LEVELS.into_iter().find(|level| level.eq_ignore_ascii_case(word))
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_typo_is_refused_with_the_valid_levels() {
        for bad in
            ["waring", "info,waring", "gateway=debgu", "off", "OFF", "info,off", "", "info,", "=debug", "info,warn"]
        {
            let error = parse(bad).unwrap_err();
            assert!(error.contains("expected error, warn, info, debug or trace"), "{bad}: {error}");
        }
    }

    #[test]
    fn unknown_target_is_refused_with_the_closest_one() {
        let error = parse("gatway=debug").unwrap_err();
        assert!(error.starts_with("the target \"gatway\" does not exist, did you mean \"gateway\"?"), "{error}");
        for bad in ["info,kit::store=debug,sqxl=debug", "acme=debug", "audit=off", "audit=error"] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains("target") && error.contains(EXPECTED), "{bad}: {error}");
        }
        for good in ["h2=off", "sqlx::query=debug", "hyper_util::client=trace", "error,passing=debug", "users=debug"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        assert!(TARGETS.is_sorted());
    }

    /// Counts the events that a filter passes.
    fn passed(level: &str, log: fn()) -> usize {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        use tracing_subscriber::{
            Layer as _,
            layer::{Context, SubscriberExt as _},
        };
        struct Counter(Arc<AtomicUsize>);
        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Counter {
            fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        let layer = Counter(Arc::clone(&count)).with_filter(parse(level).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        count.load(Ordering::SeqCst)
    }

    #[test]
    fn audit_lines_are_logged_at_every_level() {
        for level in ["error", "error,kit=off", "trace"] {
            assert_eq!(passed(level, || tracing::warn!(target: AUDIT, "changed")), 1, "{level}");
        }
        assert_eq!(passed("error", || tracing::warn!("other")), 0);
    }

    #[test]
    fn target_levels_keep_the_default_level() {
        let normal = |text| normalize(text).unwrap();
        assert_eq!(normal("gateway=debug"), "info,gateway=debug");
        assert_eq!(normal("access=off, warn"), "warn,access=off");
        assert_eq!(normal("INFO,kit::store=Trace"), "info,kit::store=trace");
        assert!(parse("info,access=off").is_ok());
    }
}
