//! Decides how a stream continues in one conversation.

/// The next step of a stream in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The position is beyond the newest entry: it belongs to a history that the store has lost, as after a failover that
    /// lost the newest entries. The client would miss the entries that take those numbers.
    Lost,
    /// The client has the newest entry.
    UpToDate,
    /// Read the entries after the last sent one.
    Read,
    /// Begin after this entry.
    Begin {
        /// The number of the entry.
        after: i64,
        /// Whether the client learns of the conversation first.
        is_announced: bool,
    },
}

/// The step for a conversation whose newest entry is `head`. `sent` is the last entry that the stream has sent, `named`
/// the position that the client sent.
pub(super) fn step(sent: Option<i64>, named: Option<i64>, head: i64, is_caught_up: bool) -> Step {
    match (sent, named) {
        (Some(at), _) | (None, Some(at)) if at > head => Step::Lost,
        (Some(sent), _) if sent == head => Step::UpToDate,
        (Some(_), _) => Step::Read,
        (None, Some(named)) => Step::Begin { after: named, is_announced: false },
        // A conversation that existed before the stream is announced with its head as position; a later one with position
        // 0, and its whole log follows.
        (None, None) => Step::Begin { after: if is_caught_up { 0 } else { head }, is_announced: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_beyond_the_head_is_lost() {
        for caught_up in [false, true] {
            assert_eq!(step(Some(8), None, 7, caught_up), Step::Lost);
            assert_eq!(step(None, Some(8), 7, caught_up), Step::Lost);
        }
    }

    #[test]
    fn sent_entries_continue_without_a_gap() {
        assert_eq!(step(Some(7), None, 7, true), Step::UpToDate);
        assert_eq!(step(Some(6), None, 7, true), Step::Read);
        // The stream's own position decides, whatever the client sent.
        assert_eq!(step(Some(6), Some(9), 7, true), Step::Read);
    }

    #[test]
    fn client_with_a_position_gets_no_announcement() {
        for (named, head) in [(0, 0), (0, 7), (7, 7)] {
            assert_eq!(step(None, Some(named), head, false), Step::Begin { after: named, is_announced: false });
        }
    }

    #[test]
    fn new_conversation_begins_at_its_head_or_its_start() {
        assert_eq!(step(None, None, 7, false), Step::Begin { after: 7, is_announced: true });
        assert_eq!(step(None, None, 7, true), Step::Begin { after: 0, is_announced: true });
    }
}
