//! Which handles a user may take: reserved names, and the cooling period of released handles.

use std::{collections::HashSet, time::Duration};

use kit::Timestamp;

/// Handles that could be mistaken for the operator's.
#[derive(Debug, Clone)]
pub struct Reserved(HashSet<String>);

impl Reserved {
    /// Reserves `names` and handles that look like them.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        Self(names.into_iter().map(|name| skeleton(name)).collect())
    }

    /// Whether `handle` looks like a reserved name, with or without a number at its end: `admin`, `adm1n_`, `admin_2`.
    pub fn contains(&self, handle: &str) -> bool {
        let unnumbered = handle.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').len();
        // A digit of the number may stand for the last letters: `lega11` is `legal` and 1.
        (unnumbered..=handle.len()).any(|end| self.0.contains(&skeleton(&handle[..end])))
    }
}

/// A skeleton as in UTS #39, which is equal for handles that look alike: without underscores, with digits replaced by
/// similar letters, and with similar letters replaced by one of them.
fn skeleton(handle: &str) -> String {
    let letters = handle.chars().filter(|c| *c != '_').map(|c| match c {
        '0' => 'o',
        '1' | 'l' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        '8' => 'b',
        other => other,
    });
    letters.collect::<String>().replace("rn", "m").replace("vv", "w")
}

/// The rules for a handle whose owner changes it.
#[derive(Debug, Clone, Copy)]
pub struct Cooling {
    /// When the change is made.
    pub now: Timestamp,
    /// How long only the previous owner may take the handle again. Zero: not at all.
    pub period: Duration,
    /// The most released handles that are reserved for one user at once.
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved() -> Reserved {
        Reserved::new(&["admin", "support", "help", "no_reply", "moderator"].map(str::to_owned))
    }

    #[test]
    fn handle_that_looks_like_a_reserved_name_is_reserved() {
        for handle in [
            "admin",
            "admin_",
            "a_d_m_i_n",
            "adm1n",
            "adrnin",
            "adm1n_2",
            "admin007",
            "supp0rt",
            "support24",
            "5upport",
            "he1p",
            "heip",
            "noreply",
            "no_reply",
            "m0derat0r",
            "moderator_1",
            "suppor7_1",
            "suppor71",
            "he1p_12",
        ] {
            assert!(reserved().contains(handle), "{handle}");
        }
    }

    #[test]
    fn handle_that_contains_a_reserved_name_is_free() {
        for handle in ["ada", "administer", "helpful", "supporter", "badmin", "modern", "ad_min_x", "x7", "replay"] {
            assert!(!reserved().contains(handle), "{handle}");
        }
    }
}
