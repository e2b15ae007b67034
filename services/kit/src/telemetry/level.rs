//! Parses log directives: a default level, then levels of single targets.
//!
//! This is stricter than `EnvFilter`, which reads a misspelt level as a target name and then logs nothing.

use tracing_subscriber::EnvFilter;

/// The default level if the directives give none.
const DEFAULT: &str = "info";
/// The default levels. `off` is not one of them: errors are always logged.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const EXPECTED: &str = "expected error, warn, info, debug or trace, and TARGET=LEVEL for single targets, such as \
                        info,gateway=debug,access=off";

/// The filter for `text`, or a description of the error.
pub(super) fn parse(text: &str) -> Result<EnvFilter, String> {
    let directives = normalize(text).map_err(|what| format!("{what}; {EXPECTED}"))?;
    EnvFilter::try_new(directives).map_err(|error| format!("{text:?}: {error}; {EXPECTED}"))
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
    fn target_levels_keep_the_default_level() {
        let normal = |text| normalize(text).unwrap();
        assert_eq!(normal("gateway=debug"), "info,gateway=debug");
        assert_eq!(normal("access=off, warn"), "warn,access=off");
        assert_eq!(normal("INFO,kit::store=Trace"), "info,kit::store=trace");
        assert!(parse("info,access=off").is_ok());
    }
}
