//! A place in a conversation's log, as clients hold it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use uuid::Uuid;

use super::ConversationId;

/// Which history a store tells. Another number after a backup was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u32);

/// The place after the entry `seq`; 0 is the place before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The history that it belongs to.
    pub epoch: Epoch,
    /// The conversation.
    pub conversation: ConversationId,
    /// The newest entry that was seen.
    pub seq: i64,
}

/// Why a cursor leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub enum BadCursor {
    /// No server gave it out, or it was given out for something else.
    Invalid,
    /// It is of another history: start anew.
    OtherEpoch,
}

const BYTES: usize = 4 + 16 + 8;

impl Cursor {
    /// As it travels: opaque to clients, of one length.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend(self.epoch.0.to_be_bytes());
        bytes.extend(self.conversation.0.into_bytes());
        bytes.extend(self.seq.to_be_bytes());
        BASE64URL.encode(bytes)
    }

    /// Reads a cursor of `conversation` in `epoch`.
    pub fn decode(text: &str, conversation: ConversationId, epoch: Epoch) -> Result<Self, BadCursor> {
        let bytes = BASE64URL.decode(text).map_err(|_| BadCursor::Invalid)?;
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| BadCursor::Invalid)?;
        let [e0, e1, e2, e3, rest @ ..] = bytes;
        let (id, seq) = rest.split_at(16);
        let id = Uuid::from_slice(id).map_err(|_| BadCursor::Invalid)?;
        let seq = i64::from_be_bytes(seq.try_into().map_err(|_| BadCursor::Invalid)?);
        if id != conversation.0 || seq < 0 {
            return Err(BadCursor::Invalid);
        }
        if Epoch(u32::from_be_bytes([e0, e1, e2, e3])) != epoch {
            return Err(BadCursor::OtherEpoch);
        }
        Ok(Self { epoch, conversation, seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ConversationId = ConversationId(Uuid::from_u128(7));

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for seq in [0, 1, 255, 1 << 40, i64::MAX] {
            let cursor = Cursor { epoch: Epoch(3), conversation: HERE, seq };
            assert_eq!(Cursor::decode(&cursor.encode(), HERE, Epoch(3)), Ok(cursor));
        }
    }

    #[test]
    fn a_cursor_of_something_else_is_refused() {
        let text = Cursor { epoch: Epoch(3), conversation: HERE, seq: 5 }.encode();
        assert_eq!(Cursor::decode(&text, HERE, Epoch(4)), Err(BadCursor::OtherEpoch));
        assert_eq!(Cursor::decode(&text, ConversationId(Uuid::nil()), Epoch(3)), Err(BadCursor::Invalid));
        assert_eq!(Cursor::decode(&text[1..], HERE, Epoch(3)), Err(BadCursor::Invalid));
        assert_eq!(Cursor::decode("", HERE, Epoch(3)), Err(BadCursor::Invalid));
    }
}
