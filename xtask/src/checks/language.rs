//! Words that the project does not use: the glossary lists them.

use crate::session::Session;

const GLOSSARY: &str = "docs/GLOSSARY.md";

/// The title of the table of plain words.
const PLAIN: &str = "\n## Plain words\n";

/// Words that are names in other systems or in stored data, with the end of their file's path.
const NAMES: [(&str, &str); 6] = [
    // The Unix user under which PostgreSQL may run.
    ("xtask/src/scratch.rs", "nobody"),
    // SQLite's PRAGMA foreign_keys.
    ("/src/store/sqlite.rs", "foreign"),
    // Stored values of the first release.
    ("/src/domain/admission.rs", "everybody"),
    ("/src/domain/admission.rs", "nobody"),
    // Former names in the interface.
    ("CHANGELOG.md", "foreign"),
    ("CHANGELOG.md", "ANSWER"),
];

/// Files that quote the words, and files that are generated.
const EXEMPT: [&str; 8] = [
    GLOSSARY,
    "CONTRIBUTING.md",
    "xtask/src/checks/language.rs",
    "web/console/dist/",
    "web/docs/dist/",
    "web/explorer/dist/",
    "web/client/src/gen/",
    "web/e2e/clients/gen/",
];

/// Verbs that make "what" or "who" at the start of a clause a riddle.
const VERBS: [&str; 14] =
    ["is", "was", "are", "has", "had", "comes", "came", "reads", "asks", "says", "may", "stays", "waits", "goes"];

/// Finds banned words.
pub(super) fn check(session: &Session) -> Result<(), String> {
    let files = super::sources::files(
        session,
        &["*.rs", "*.md", "*.proto", "*.ts", "*.py", "*.toml", "*.sql", "*.yaml", "*.tmpl"],
    )?;
    let text = |path: &str| files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str());
    let banned = banned(text(GLOSSARY).ok_or(format!("{GLOSSARY} is missing"))?);
    let mut found = Vec::new();
    for (path, text) in &files {
        // A migration that was applied never changes.
        if EXEMPT.iter().any(|exempt| path.starts_with(exempt)) || path.contains("/migrations/") {
            continue;
        }
        let is_name = |word: &str| NAMES.iter().any(|(end, name)| path.ends_with(end) && word == *name);
        let words = findings(text, &banned).into_iter().filter(|(_, word)| !is_name(word));
        found.extend(words.map(|(line, word)| format!("{path}:{line}: {word:?}; {GLOSSARY} has the term to use")));
    }
    super::none(&found)
}

/// The words of the glossary's "not" columns, and those of the first column of its table of plain words. That table also
/// quotes sentences: [`is_riddle`] finds them.
fn banned(glossary: &str) -> Vec<&str> {
    let (terms, plain) = glossary.split_once(PLAIN).unwrap_or((glossary, ""));
    let rows = |text| str::lines(text).filter(|line| line.starts_with("| "));
    let columns = rows(terms).filter(|row| row.matches('|').count() == 4);
    let columns = columns.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let plain = rows(plain).filter_map(|row| row.split('|').nth(1)).filter(|cell| !cell.contains('"'));
    let words = columns.chain(plain).flat_map(|cell| cell.split(',')).map(str::trim);
    words.filter(|word| !matches!(*word, "" | "not" | "instead of")).collect()
}

/// The line and the word of each finding.
fn findings<'a>(text: &'a str, banned: &[&str]) -> Vec<(usize, &'a str)> {
    let lines = text.lines().enumerate();
    lines.flat_map(|(at, line)| of_line(line, banned).into_iter().map(move |word| (at + 1, word))).collect()
}

fn of_line<'a>(line: &'a str, banned: &[&str]) -> Vec<&'a str> {
    let words = words(line);
    let is_banned = |word: &str| banned.iter().any(|root| is_form_of(&word.to_ascii_lowercase(), root));
    let mut found: Vec<&str> = words.iter().map(|(_, word)| *word).filter(|word| is_banned(word)).collect();
    found.extend(words.windows(2).filter(|pair| is_riddle(line, pair)).map(|pair| pair[0].1));
    found
}

/// The words of a line with their positions: letters only, split where `camelCase` does.
fn words(line: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut was_lower = false;
    for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
        let ends = !c.is_alphabetic() || (c.is_uppercase() && was_lower);
        if ends && let Some(from) = start.take() {
            words.push((from, &line[from..at]));
        }
        if c.is_alphabetic() && start.is_none() {
            start = Some(at);
        }
        was_lower = c.is_lowercase();
    }
    words
}

/// `answers`, `answered` and `answering` are forms of `answer`.
fn is_form_of(word: &str, root: &str) -> bool {
    let stem = root.strip_suffix('e').unwrap_or(root);
    let rest = word.strip_prefix(root).or_else(|| word.strip_prefix(stem).filter(|rest| *rest == "ing"));
    rest.is_some_and(|rest| ["", "s", "es", "d", "ed", "ing"].contains(&rest))
}

/// "What is", "Who asks" at the start of a clause: after nothing but marks, or after a mark that ends one. A question
/// that ends with "?" is one.
fn is_riddle(line: &str, pair: &[(usize, &str)]) -> bool {
    let [(at, opening), (_, verb)] = pair else { return false };
    if !["what", "who"].contains(&opening.to_ascii_lowercase().as_str()) || !VERBS.contains(verb) {
        return false;
    }
    let before = line[..*at].trim_end();
    let starts = !before.contains(char::is_alphanumeric) || before.ends_with(['.', ';', ':', ',', '"', '(']);
    starts && !line[*at..].contains('?')
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 3] = ["answer", "nobody", "gather"];

    #[test]
    fn forms_and_parts_of_names_are_found() {
        let found = |line| of_line(line, &WORDS);
        assert_eq!(found("// The server answered; fn late_answer() -> FirstAnswer"), ["answered", "answer", "Answer"]);
        assert_eq!(found("gathering Gathered together"), ["gathering", "Gathered"]);
        assert!(found("a response").is_empty());
    }

    #[test]
    fn riddles_are_found_at_the_start_of_a_clause() {
        let found = |line| of_line(line, &[]).len();
        assert_eq!(found("/// What is read twice."), 1);
        assert_eq!(found("/// It ends; who waits is told"), 1);
        assert_eq!(found("/// It returns what is left, to clients who wait."), 0);
        assert_eq!(found("## Who is calling?"), 0);
    }

    #[test]
    fn words_are_read_from_the_last_column() {
        let page = "| term | meaning | not |\n|---|---|---|\n| response | back | answer, reply |\n| stream | x | |\n";
        assert_eq!(banned(page), ["answer", "reply"]);
    }

    #[test]
    fn plain_words_are_read_from_the_first_column() {
        let page = "| a | b | x |\n\n## Plain words\n\n| instead of | write |\n|---|---|\n| nobody, somebody | the actor |\n\
                    | \"What is\", \"Who asks\" | the subject |\n";
        assert_eq!(banned(page), ["x", "nobody", "somebody"]);
    }

    /// A regression: the check ignored the row of "told", "tells", "said" and "says".
    #[test]
    fn every_row_of_the_glossary_is_checked() {
        let words = banned(include_str!("../../../docs/GLOSSARY.md"));
        for word in ["answer", "whoever", "nobody", "everybody", "told", "tells", "said", "says"] {
            assert!(words.contains(&word), "{word}: {words:?}");
        }
    }

    #[test]
    fn findings_name_their_line() {
        assert_eq!(findings("fine\nnobody waits", &WORDS), [(2, "nobody")]);
    }
}
