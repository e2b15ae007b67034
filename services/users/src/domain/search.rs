//! Search terms of users, and queries.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// The most terms of one user. A handle has at most 15 words; the others are left for the display name.
const MOST_TERMS: usize = 32;
/// The most characters of a term or query that are compared.
const TERM_CHARS: usize = 64;

/// A search query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    prefix: String,
    handle: String,
}

impl Query {
    /// Parses the query of a request; `None`: it is empty and matches all users.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let words = words(text);
        // A query without a letter or digit finds nothing, because every term starts with one.
        let prefix = if words.is_empty() { text.to_owned() } else { term(&words) };
        // Full-width and other forms of a letter are the same letter, as in the terms.
        let handle: String = text.nfkc().collect();
        Some(Self { prefix, handle: handle.trim_start_matches('@').to_ascii_lowercase() })
    }

    /// The prefix of matching terms.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A text after all terms with the prefix, in byte order: no term contains the last code point.
    pub fn end(&self) -> String {
        format!("{}{}", self.prefix, char::MAX)
    }

    /// The query as an exact handle.
    pub fn handle(&self) -> &str {
        &self.handle
    }
}

/// The terms of a user: for each word of the handle and the display name, the text that starts with this word. A query
/// matches a user if one of the terms starts with the query's prefix.
pub fn terms(handle: &str, display_name: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for text in [handle, display_name] {
        let words = words(text);
        terms.extend((0..words.len()).map(|from| term(&words[from..])));
    }
    terms.truncate(MOST_TERMS);
    terms.sort();
    terms.dedup();
    terms
}

fn term(words: &[String]) -> String {
    words.join(" ").chars().take(TERM_CHARS).collect()
}

/// The words of a text: letters, digits and their marks, in NFKC and in one letter case. Upper case comes first,
/// because one lower-case letter may have several forms: both "ß" and "SS" become "ss".
fn words(text: &str) -> Vec<String> {
    let one_case = text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let folded: String = one_case.nfkc().collect();
    let is_of_word = |c: char| c.is_alphanumeric() || is_combining_mark(c);
    // A mark alone is not a word: every term starts with a letter or digit.
    let words = folded.split(|c| !is_of_word(c)).map(|word| word.trim_start_matches(is_combining_mark));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(query: &str, handle: &str, display_name: &str) -> bool {
        let query = Query::parse(query).unwrap();
        terms(handle, display_name).iter().any(|term| (query.prefix()..query.end().as_str()).contains(&term.as_str()))
    }

    #[test]
    fn query_finds_the_beginnings_of_words() {
        for query in ["a", "Ada", "ada love", "LOVE", "@ada_l", "count", "of lovelace", " ada ", "ada-l"] {
            assert!(finds(query, "ada_l", "Ada Lovelace, Countess of Lovelace"), "{query}");
        }
        for query in ["b", "da", "ovelace", "lovelace ada", "adal", "🦊", "%", "_", "\u{301}"] {
            assert!(!finds(query, "ada_l", "Ada Lovelace, Countess of Lovelace"), "{query}");
        }
    }

    #[test]
    fn case_and_forms_of_characters_make_no_difference() {
        for (query, name) in [
            ("JOSE\u{301}", "José"),
            ("jos\u{e9}", "Jose\u{301}"),
            ("ＡＤＡ", "Ada"),
            ("ﬁ", "Fi"),
            ("STRASSE", "Straße"),
            ("ΓΙΏΡΓΟΣ", "Γιώργος"),
            ("李", "李小龍"),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert!(finds(query, "someone", name), "{query} {name}");
        }
        assert!(!finds("jose", "someone", "José"), "accents are significant");
    }

    #[test]
    fn handle_is_found_in_every_form_of_its_characters() {
        for query in ["ada_1", "@Ada_1", " ＠ＡＤＡ＿１ ", "ａｄａ_１"] {
            assert_eq!(Query::parse(query).unwrap().handle(), "ada_1", "{query}");
        }
    }

    #[test]
    fn white_space_is_an_empty_query() {
        assert_eq!(Query::parse(""), None);
        assert_eq!(Query::parse(" \u{3000}\n"), None);
    }

    #[test]
    fn terms_are_bounded() {
        let longest = terms("a_b_c_d_e_f_g_h_i_j_k_l_m_n_o", &"\u{fdfa}".repeat(64));
        assert!(longest.len() <= MOST_TERMS);
        assert!(longest.iter().all(|term| term.chars().count() <= TERM_CHARS));
        assert!(longest.contains(&"o".to_owned()) && longest.len() > 15, "terms of the name are left: {longest:?}");
    }
}
