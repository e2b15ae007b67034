//! The comments of contracts.

use std::collections::HashMap;

use prost_reflect::DescriptorPool;

/// The comments before declarations, by file and path.
#[derive(Debug, Default)]
pub struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    /// The comments of all files of a pool.
    #[must_use]
    pub fn of(pool: &DescriptorPool) -> Self {
        let mut all = HashMap::new();
        for file in pool.files() {
            let locations = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
            for location in locations {
                let text = unwrapped(location.leading_comments());
                if !text.is_empty() {
                    all.insert((file.name().to_owned(), location.path.clone()), text);
                }
            }
        }
        Self(all)
    }

    /// The comment of the declaration at `path`, as Markdown.
    #[must_use]
    pub fn get(&self, file: &str, path: &[i32]) -> Option<&str> {
        self.0.get(&(file.to_owned(), path.to_vec())).map(String::as_str)
    }
}

/// Joins the lines of each paragraph. Lists and code keep their lines.
fn unwrapped(comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let goes_on = !text.is_empty() && !text.ends_with('\n');
        if line.is_empty() {
            text.push_str(if goes_on { "\n\n" } else { "" });
            continue;
        }
        let keeps_line = line.starts_with([' ', '-', '*', '`', '|', '#']);
        text.push_str(if !goes_on {
            ""
        } else if keeps_line {
            "\n"
        } else {
            " "
        });
        text.push_str(line);
    }
    text.trim_end().to_owned()
}

/// The first sentence of a comment, and what follows.
pub(super) fn summary(comment: &str) -> (&str, &str) {
    let end = comment.find(". ").or_else(|| comment.find(".\n"));
    match end {
        Some(end) => (&comment[..end], comment[end + 1..].trim_start()),
        None => (comment.strip_suffix('.').unwrap_or(comment), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_one_line() {
        for (comment, text) in [
            (" One line.\n", "One line."),
            (" A long\n sentence.\n\n More of\n it.\n", "A long sentence.\n\nMore of it."),
            (" A list:\n - one\n - two\n", "A list:\n- one\n- two"),
            ("\n\n", ""),
        ] {
            assert_eq!(unwrapped(comment), text);
        }
    }

    #[test]
    fn summary_is_the_first_sentence() {
        assert_eq!(summary("Lists v1.2 users. Newest first."), ("Lists v1.2 users", "Newest first."));
        assert_eq!(summary("Lists users.\n\nErrors: none."), ("Lists users", "Errors: none."));
        assert_eq!(summary("Lists users."), ("Lists users", ""));
        assert_eq!(summary(""), ("", ""));
    }
}
