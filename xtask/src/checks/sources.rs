//! What may be written where: rules that no compiler knows, over the text of the files that git sees.

use std::fs;

use crate::session::Session;

/// A name that only certain files may speak.
struct Place {
    name: &'static str,
    /// Whether the file with this path may.
    allowed: fn(&str) -> bool,
    why: &'static str,
}

const PLACES: [Place; 3] = [
    Place { name: "sqlx", allowed: |path| path.contains("/store"), why: "only store modules speak SQL" },
    Place {
        name: "deadpool_redis",
        allowed: |path| ["limiter", "bus"].iter().any(|m| path.starts_with(&format!("services/kit/src/{m}"))),
        why: "only kit's limiter and bus speak to Redis",
    },
    Place {
        name: "env::var",
        allowed: |path| path.ends_with("/config.rs") || path.contains("/config/"),
        why: "only config modules read the environment",
    },
];

/// Our own Rust files keep to their places. Tests, build scripts and xtask are outside the house.
pub(super) fn places(session: &Session) -> Result<(), String> {
    let mut findings = Vec::new();
    for (path, text) in files(session, &["*.rs"])? {
        if !is_exempt(&path) {
            findings.extend(misplaced(&path, &text));
        }
    }
    super::none(&findings)
}

fn is_exempt(path: &str) -> bool {
    path.starts_with("xtask/")
        || path.split('/').any(|part| part == "tests" || part == "benches" || part == "build")
        || path.ends_with("build.rs")
}

fn misplaced(path: &str, text: &str) -> Vec<String> {
    let code = |line: &&str| !line.trim_start().starts_with("//");
    let mut found = Vec::new();
    for place in PLACES.iter().filter(|place| !(place.allowed)(path)) {
        let speaks = |(_, line): &(usize, &str)| code(line) && names(line, place.name);
        for (number, line) in text.lines().enumerate().filter(speaks) {
            found.push(format!("{path}:{}: {}: {}", number + 1, place.why, line.trim()));
        }
    }
    found
}

/// Whether `name` stands in `line` as a word of its own; it may go on at the end, as `env::vars` does.
fn names(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| !line[..at].ends_with(is_word))
}

/// What belongs to one machine or one network. Put together here, so that this file does not hold them.
const LEAKS: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("registry.", "npmjs"),
    concat!("files.", "pythonhosted"),
    concat!("pypi.", "org/simple"),
    concat!("static.", "crates.io"),
];

/// No file names a path of somebody's machine or the host of a registry.
pub(super) fn leaks(session: &Session) -> Result<(), String> {
    let mut findings = Vec::new();
    for (path, text) in files(session, &[])? {
        for (number, line) in text.lines().enumerate() {
            for leak in LEAKS.iter().filter(|leak| line.contains(*leak)) {
                findings.push(format!("{path}:{}: {leak}", number + 1));
            }
        }
    }
    super::none(&findings)
}

/// Path and text of each file that git knows or would add. What is not text is left out.
pub(super) fn files(session: &Session, patterns: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut git = session.command("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "--"]).args(patterns);
    let listed = session.ask(&mut git)?;
    let read = |path: &str| Some((path.to_owned(), fs::read_to_string(session.root.join(path)).ok()?));
    let files: Vec<_> = listed.lines().filter_map(read).collect();
    if files.is_empty() { Err("git lists no files".to_owned()) } else { Ok(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_is_spoken_in_stores_only() {
        assert_eq!(misplaced("services/users/src/api.rs", "// no sqlx here\nuse sqlx::Row;").len(), 1);
        assert!(misplaced("services/users/src/store/sql.rs", "use sqlx::Row;").is_empty());
        assert!(misplaced("services/users/src/api.rs", "let my_sqlx = 1;").is_empty());
    }

    #[test]
    fn the_environment_is_read_in_config_only() {
        assert_eq!(misplaced("trellis/src/main.rs", "std::env::var_os(\"HOME\")").len(), 1);
        assert!(misplaced("services/kit/src/config.rs", "env::vars()").is_empty());
        assert!(misplaced("trellis/src/main.rs", "env!(\"CARGO_PKG_VERSION\")").is_empty());
    }

    #[test]
    fn tests_and_build_scripts_are_free() {
        for path in ["trellis/tests/kill.rs", "proto/build.rs", "proto/build/checks.rs", "xtask/src/main.rs"] {
            assert!(is_exempt(path), "{path}");
        }
        assert!(!is_exempt("services/auth/src/api.rs"));
    }
}
