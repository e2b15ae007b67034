//! No statement that may wait for a row lock depends on another table.
//!
//! A PostgreSQL statement takes its snapshot before it waits for a row lock. After the wait it rereads only the locked
//! row: a condition on another table, or on another row, still uses the old snapshot. For example, the store would
//! accept a message of a removed member. Such a condition belongs in a statement that starts after the lock is
//! acquired.
//!
//! The check reads the string literals of the store modules. It does not see a statement that is built from several
//! literals as a whole. It skips SQLite, whose only writer never waits inside a statement. A statement cannot be
//! exempted, but one with `SKIP LOCKED` or `NOWAIT` does not wait and is accepted.

use super::sources;
use crate::session::Session;

/// Row sources that read the statement's parameters instead of a table. `EACH` is a store's constant for one of them.
const PARAMETERS: [&str; 4] = ["unnest", "json_each", "generate_series", "{EACH}"];

pub(super) fn check(session: &Session) -> Result<(), String> {
    let mut findings = Vec::new();
    for (path, text) in sources::files(session, &["*.rs"])? {
        if is_checked(&path) {
            findings.extend(in_file(&path, &text));
        }
    }
    super::none(&findings)
}

fn is_checked(path: &str) -> bool {
    let is_store = ["/src/store", "/src/jobs/store", "/src/audit/store"].iter().any(|store| path.contains(store));
    is_store && path.ends_with(".rs") && !path.ends_with("sqlite.rs")
}

fn in_file(path: &str, text: &str) -> Vec<String> {
    let finding = |(line, statement): (usize, String)| {
        let why = finding(&statement)?;
        Some(format!("{path}:{line}: {why}: {statement}"))
    };
    literals(text).into_iter().filter_map(finding).collect()
}

/// The reason to refuse a statement, if any.
fn finding(statement: &str) -> Option<&'static str> {
    let words = words(statement);
    let rest = words.get(1..)?;
    match words.first()?.as_str() {
        "UPDATE" | "DELETE" => waits_with_another_table(&words),
        "INSERT" if find(rest, &["DO", "UPDATE"]).is_some() => waits_on_a_conflict(&words),
        "SELECT" | "INSERT" if is_locking(rest) => locks_one_of_several(&words),
        "WITH" if is_locking(rest) || rest.iter().any(|word| word == "UPDATE" || word == "DELETE") => {
            Some("a WITH query is evaluated before the wait for the lock")
        }
        _ => None,
    }
}

/// `UPDATE t` and `DELETE FROM t`: each subselect must read `t` itself and skip locked rows.
fn waits_with_another_table(words: &[String]) -> Option<&'static str> {
    let target = words.get(if words[0] == "UPDATE" { 1 } else { 2 })?;
    let mut outside = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if words[at] == "SELECT" {
            let subselect = &words[at..at + extent(&words[at..])];
            let of_target = find(subselect, &["FROM"]).and_then(|from| subselect.get(from + 1)) == Some(target);
            if !of_target || !never_waits(subselect) {
                return Some("its subselect is evaluated before the wait for the lock");
            }
            at += subselect.len();
        } else {
            outside.push(words[at].clone());
            at += 1;
        }
    }
    let outside = &outside[3..];
    let joins = |keyword| {
        let at = find(outside, &[keyword])?;
        outside.get(at + 1).filter(|table| !PARAMETERS.contains(&table.as_str()))
    };
    (joins("FROM").is_some() || joins("USING").is_some()).then_some("it reads a joined table as of before the wait")
}

/// `INSERT … ON CONFLICT … DO UPDATE` waits for the row that it conflicts with.
fn waits_on_a_conflict(words: &[String]) -> Option<&'static str> {
    let reads_a_table = words.iter().enumerate().any(|(at, word)| {
        word == "FROM" && words.get(at + 1).is_none_or(|table| !PARAMETERS.contains(&table.as_str()))
    });
    reads_a_table.then_some("it reads a table as of before the wait for the conflicting row")
}

/// A statement with `FOR UPDATE` or `FOR SHARE` must read one table: the one that it locks.
fn locks_one_of_several(words: &[String]) -> Option<&'static str> {
    if never_waits(words) {
        return None;
    }
    let first = find(words, &["FROM"])?;
    let list = words[first..].iter().take_while(|word| *word != "WHERE" && *word != "FOR");
    let several = words[first + 1..].iter().any(|word| word == "FROM" || word == "JOIN" || word == "SELECT");
    (several || list.into_iter().any(|word| word == ","))
        .then_some("it reads several tables, but rereads only the locked row after the wait")
}

fn is_locking(words: &[String]) -> bool {
    ["UPDATE", "SHARE", "NO", "KEY"].iter().any(|strength| find(words, &["FOR", strength]).is_some())
}

fn never_waits(words: &[String]) -> bool {
    find(words, &["SKIP", "LOCKED"]).is_some() || find(words, &["NOWAIT"]).is_some()
}

fn find(words: &[String], wanted: &[&str]) -> Option<usize> {
    words.windows(wanted.len()).position(|window| window.iter().zip(wanted).all(|(word, wanted)| word == wanted))
}

/// The number of words before the parenthesis that ends the subselect.
fn extent(words: &[String]) -> usize {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "(" => depth += 1,
            ")" if depth == 0 => return at,
            ")" => depth -= 1,
            _ => {}
        }
    }
    words.len()
}

/// Splits a statement into words, parentheses and commas. Keywords are in capitals.
fn words(statement: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut in_word = false;
    for c in statement.chars() {
        let is_word = c.is_alphanumeric() || "_.${}".contains(c);
        match (is_word, words.last_mut()) {
            (true, Some(word)) if in_word => word.push(c),
            (true, _) => words.push(c.to_string()),
            (false, _) if "(),".contains(c) => words.push(c.to_string()),
            _ => {}
        }
        in_word = is_word;
    }
    words
}

/// The string literals of a Rust source, with the lines on which they begin. Continued lines are joined.
fn literals(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let line = 1 + source[..source.len() - rest.len() + at].matches('\n').count();
        rest = &rest[at..];
        rest = if rest.starts_with("//") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            &rest[3..]
        } else if let Some(inside) = rest.strip_prefix('"') {
            let (literal, after) = literal(inside);
            found.push((line, literal));
            after
        } else {
            &rest[1..]
        };
    }
    found
}

/// A literal up to its closing quote, and the rest of the source.
fn literal(inside: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = inside.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &inside[at + 1..]),
            '\\' => match chars.next() {
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, escaped)) => text.push(escaped),
                None => {}
            },
            _ => text.push(c),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn refused(statement: &str) {
        assert!(finding(statement).is_some(), "{statement}");
    }

    fn accepted(statement: &str) {
        assert_eq!(finding(statement), None, "{statement}");
    }

    #[test]
    fn condition_on_another_table_is_refused() {
        refused(
            "UPDATE conversations SET last_seq = last_seq + 1 WHERE conversation_id = $1 AND EXISTS \
                 (SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2) RETURNING last_seq",
        );
        refused("UPDATE members SET read_no = (SELECT message_count FROM conversations WHERE conversation_id = $1)");
        refused("DELETE FROM members WHERE user_id IN (SELECT user_id FROM people WHERE gone)");
        refused("DELETE FROM members USING people WHERE people.user_id = members.user_id");
        refused("UPDATE members SET read_no = c.n FROM conversations c WHERE c.id = members.id");
        refused("WITH m AS (SELECT 1 FROM members) UPDATE conversations SET last_seq = 1");
    }

    #[test]
    fn condition_on_another_row_is_refused() {
        refused("UPDATE entries SET seq = 1 WHERE NOT EXISTS (SELECT 1 FROM entries WHERE seq = 2)");
    }

    #[test]
    fn lock_of_one_table_in_a_join_is_refused() {
        refused("SELECT a.state FROM sessions s JOIN accounts a ON a.id = s.id WHERE s.id = $1 FOR UPDATE OF s");
        refused("SELECT 1 FROM sessions, accounts FOR SHARE");
        refused("SELECT 1 FROM sessions WHERE EXISTS (SELECT 1 FROM accounts) FOR NO KEY UPDATE");
        refused("INSERT INTO sessions SELECT a.id FROM accounts a JOIN roles r ON r.id = a.id FOR SHARE OF a");
    }

    #[test]
    fn upsert_that_reads_a_table_is_refused() {
        refused("INSERT INTO people SELECT id, 1 FROM members ON CONFLICT (id) DO UPDATE SET n = people.n + 1");
        refused("INSERT INTO people VALUES ($1) ON CONFLICT (id) DO UPDATE SET n = (SELECT count(*) FROM members)");
    }

    #[test]
    fn condition_on_the_locked_row_is_accepted() {
        accepted("UPDATE accounts SET state = 'active' WHERE account_id = $1 AND state = 'pending'");
        accepted("DELETE FROM members WHERE conversation_id = $1 AND user_id = $2");
        accepted("SELECT account_id FROM accounts WHERE account_id = $1 FOR UPDATE");
        accepted("INSERT INTO sessions (id) SELECT $1, id FROM accounts WHERE id = $2 AND state = 'active' FOR SHARE");
        accepted(
            "INSERT INTO people (id, n) SELECT id, 1 FROM unnest($1::uuid[]) AS id ORDER BY id \
                  ON CONFLICT (id) DO UPDATE SET n = people.n + 1 WHERE people.n < $2",
        );
        accepted(
            "INSERT INTO people SELECT e.id, 0 FROM {EACH} ORDER BY e.id ON CONFLICT (id) DO UPDATE SET n = people.n",
        );
        accepted("SELECT 1 FROM entries WHERE EXISTS (SELECT 1 FROM members)");
    }

    #[test]
    fn statement_that_never_waits_is_accepted() {
        accepted("UPDATE outbox SET n = n + 1 WHERE id = (SELECT id FROM outbox LIMIT 1 FOR UPDATE SKIP LOCKED)");
        accepted(
            "DELETE FROM {table} WHERE {key} = ANY(ARRAY(SELECT {key} FROM {table} WHERE {due} LIMIT $2 \
                  FOR UPDATE SKIP LOCKED))",
        );
        refused("UPDATE outbox SET n = n + 1 WHERE id = (SELECT id FROM outbox LIMIT 1)");
        refused("UPDATE outbox SET n = 1 WHERE id = (SELECT id FROM accounts LIMIT 1 FOR UPDATE SKIP LOCKED)");
    }

    fn sources_under(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.flat_map(|path| if path.is_dir() { sources_under(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn stores_of_this_repository_pass() {
        let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
        let mut statements = 0;
        for path in sources_under(&services).into_iter().filter(|path| is_checked(&path.to_string_lossy())) {
            let text = fs::read_to_string(&path).unwrap();
            statements += literals(&text).iter().filter(|(_, text)| text.starts_with("UPDATE ")).count();
            assert_eq!(in_file(&path.to_string_lossy(), &text), Vec::<String>::new());
        }
        assert!(statements > 10, "the stores were read: {statements} statements");
    }

    #[test]
    fn statements_are_found_in_a_source() {
        let source = "// \"UPDATE a\"\nlet quote = '\"';\nlet life: &'static str = \"DELETE FROM a USING b\";\n\
                      sqlx::query(\n    \"UPDATE a SET b = 1 \\\n     WHERE EXISTS (SELECT 1 FROM c)\",\n)";
        let found = in_file("services/a/src/store.rs", source);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("services/a/src/store.rs:3: ") && found[1].contains("rs:5: "), "{found:?}");
        assert!(found[1].ends_with("UPDATE a SET b = 1 WHERE EXISTS (SELECT 1 FROM c)"), "{found:?}");
    }
}
