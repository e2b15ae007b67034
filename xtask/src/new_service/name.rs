//! Which names a service may have: the name is a crate, a module, a package of the contract, a schema of PostgreSQL, a
//! section of the configuration, a command, and a host name in Kubernetes.

use std::fs;

use crate::session::Session;

/// Longer names would not fit into the names of Kubernetes and PostgreSQL with their prefixes.
const LONGEST: usize = 30;

/// Keywords of Rust, including reserved ones, that consist of lowercase letters.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names that Rust, PostgreSQL, the command line or the template use for something else.
const RESERVED: [&str; 61] = [
    "all",
    "alloc",
    "analyse",
    "analyze",
    "api",
    "base",
    "bench",
    "bool",
    "channel",
    "char",
    "clone",
    "codec",
    "completions",
    "config",
    "context",
    "core",
    "debug",
    "default",
    "domain",
    "error",
    "group",
    "grpc",
    "header",
    "help",
    "item",
    "keys",
    "mesh",
    "migrate",
    "option",
    "order",
    "page",
    "part",
    "policy",
    "process",
    "public",
    "readiness",
    "ready",
    "redact",
    "request",
    "response",
    "result",
    "routes",
    "row",
    "running",
    "select",
    "send",
    "server",
    "service",
    "services",
    "sql",
    "status",
    "std",
    "store",
    "string",
    "sync",
    "table",
    "test",
    "text",
    "user",
    "validate",
    "vec",
];

/// Refuses a name that the service cannot have. The error states the fix.
pub(super) fn check(session: &Session, name: &str) -> Result<(), String> {
    check_form(name)?;
    let read = |path: &str| fs::read_to_string(session.root.join(path)).map_err(|e| format!("{path}: {e}"));
    for path in [format!("services/{name}"), format!("proto/trellis/{name}")] {
        if session.root.join(&path).exists() {
            return Err(format!("{path} exists already and is not overwritten"));
        }
    }
    if read("trellis/src/config.rs")?.contains(&format!("pub(crate) {name}: ")) {
        return Err(format!("{name:?} is a section of the configuration; choose another name"));
    }
    if read("Cargo.lock")?.contains(&format!("\nname = \"{name}\"\n")) {
        return Err(format!("{name:?} is the name of a crate in Cargo.lock; choose another name"));
    }
    Ok(())
}

fn check_form(name: &str) -> Result<(), String> {
    let is_word = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !is_word || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !(2..=LONGEST).contains(&name.len()) {
        return Err(format!(
            "{name:?} is not a name for a service: use 2 to {LONGEST} lowercase letters and digits, beginning with a letter"
        ));
    }
    if KEYWORDS.contains(&name) {
        return Err(format!("{name:?} is a keyword of Rust; choose another name"));
    }
    // PostgreSQL reserves schemas that begin with pg_; these are names of its tools.
    if RESERVED.contains(&name) || name.starts_with("pg") {
        return Err(format!("{name:?} is reserved; choose another name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_work_are_accepted() {
        for name in ["notes", "billing2", "ab"] {
            assert_eq!(check_form(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refusal_states_the_reason() {
        for name in ["", "a", "Notes", "my-notes", "my_notes", "2notes", "nötes", "../notes", &"n".repeat(31)] {
            assert!(check_form(name).unwrap_err().contains("is not a name for a service: use 2 to 30"), "{name}");
        }
        assert!(check_form("match").unwrap_err().contains("is a keyword of Rust"));
        for name in ["order", "migrate", "pgbouncer"] {
            assert!(check_form(name).unwrap_err().contains("is reserved"), "{name}");
        }
    }
}
