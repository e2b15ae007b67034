//! Rules about the text of source files that the compiler does not check.

use std::fs;

use crate::session::Session;

/// A name that only some files may use.
struct Place {
    name: &'static str,
    /// Whether the file with this path may use it.
    allowed: fn(&str) -> bool,
    why: &'static str,
}

const PLACES: [Place; 3] = [
    Place {
        name: "sqlx",
        // Telemetry names its log targets.
        allowed: |path| {
            path.contains("/store")
                || path.starts_with("services/kit-data/")
                || path.starts_with("services/kit/src/telemetry")
        },
        why: "only kit-data and store modules use SQL",
    },
    Place {
        name: "deadpool_redis",
        allowed: |path| ["limiter", "bus", "redis"].iter().any(|m| path.starts_with(&format!("services/kit/src/{m}"))),
        why: "only kit's redis, limiter and bus use Redis",
    },
    Place {
        name: "env::var",
        allowed: |path| path.ends_with("/config.rs") || path.contains("/config/"),
        why: "only config modules read the environment",
    },
];

/// Checks [`PLACES`] in all Rust files except tests, build scripts and xtask.
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
        let uses = |(_, line): &(usize, &str)| code(line) && names(line, place.name);
        for (number, line) in text.lines().enumerate().filter(uses) {
            found.push(format!("{path}:{}: {}: {}", number + 1, place.why, line.trim()));
        }
    }
    found
}

/// Whether a word of `line` begins with `name`: `env::vars` matches `env::var`.
fn names(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| !line[..at].ends_with(is_word))
}

/// Paths and hosts of one machine or network. `concat!` keeps them out of this file, which the check reads too.
const LEAKS: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("registry.", "npmjs"),
    concat!("files.", "pythonhosted"),
    concat!("pypi.", "org/simple"),
    concat!("static.", "crates.io"),
];

/// Finds paths of one machine and hosts of registries in all files.
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

/// Finds tests that release a port and bind it again. Another program may take the port in between.
pub(super) fn ports(session: &Session) -> Result<(), String> {
    let mut findings = Vec::new();
    for (path, text) in files(session, &["*.rs"])? {
        if path.split('/').any(|part| part == "tests") {
            findings
                .extend(released(&text).into_iter().map(|line| format!("{path}:{line}: this test releases a port")));
        }
    }
    super::none(&findings)
}

/// The lines that bind a listener, read its port, and drop it.
fn released(text: &str) -> Vec<usize> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let lines: Vec<&str> = text.lines().collect();
    let releases = |at: &usize| {
        // A chain of calls may span several lines.
        let rest =
            lines[*at..].iter().take_while(|line| !line.trim().is_empty()).copied().collect::<Vec<_>>().join(" ");
        let statement = rest.split(';').next().unwrap_or_default();
        let bound = statement.split("TcpListener::bind").nth(1);
        bound.is_some_and(|after| after.contains("local_addr") || after.contains(".is_ok()"))
    };
    let binds = |at: &usize| is_code(&lines[*at]) && lines[*at].contains("TcpListener::bind");
    (0..lines.len()).filter(binds).filter(releases).map(|at| at + 1).collect()
}

/// Path and text of each text file that git tracks or would add.
pub(super) fn files(session: &Session, patterns: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut git = session.command("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "--"]).args(patterns);
    let listed = session.output(&mut git)?;
    let read = |path: &str| Some((path.to_owned(), fs::read_to_string(session.root.join(path)).ok()?));
    let files: Vec<_> = listed.lines().filter_map(read).collect();
    if files.is_empty() { Err("git lists no files".to_owned()) } else { Ok(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_outside_a_store_is_found() {
        assert_eq!(misplaced("services/users/src/api.rs", "// no sqlx here\nuse sqlx::Row;").len(), 1);
        assert!(misplaced("services/users/src/store/sql.rs", "use sqlx::Row;").is_empty());
        assert!(misplaced("services/users/src/api.rs", "let my_sqlx = 1;").is_empty());
    }

    #[test]
    fn environment_outside_config_is_found() {
        assert_eq!(misplaced("trellis/src/main.rs", "std::env::var_os(\"HOME\")").len(), 1);
        assert!(misplaced("services/kit/src/config.rs", "env::vars()").is_empty());
        assert!(misplaced("trellis/src/main.rs", "env!(\"CARGO_PKG_VERSION\")").is_empty());
    }

    #[test]
    fn released_ports_are_found() {
        let bound = concat!("Tcp", "Listener::bind");
        assert_eq!(released(&format!("fn a() {{\n    {bound}(any).and_then(|l| l.local_addr())\n}}")), [2]);
        assert_eq!(released(&format!("{bound}(any)\n    .unwrap()\n    .local_addr();")), [1]);
        assert_eq!(released(&format!("if {bound}((LOCALHOST, port)).is_ok() {{")), [1]);
        let kept = format!("let listener = {bound}(any).unwrap();\nlet port = listener.local_addr();");
        assert!(released(&kept).is_empty());
    }

    #[test]
    fn tests_and_build_scripts_are_exempt() {
        for path in ["trellis/tests/kill.rs", "proto/build.rs", "proto/build/checks.rs", "xtask/src/main.rs"] {
            assert!(is_exempt(path), "{path}");
        }
        assert!(!is_exempt("services/auth/src/api.rs"));
    }
}
