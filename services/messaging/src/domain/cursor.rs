//! A position in a conversation's log, in the form that clients store.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use uuid::Uuid;

use super::ConversationId;

/// The number of a store's history. It changes when a backup is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u32);

/// The position after the entry `seq`; 0 is the position before the first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The history that it belongs to.
    pub epoch: Epoch,
    /// The conversation.
    pub conversation: ConversationId,
    /// The newest entry that the client has.
    pub seq: i64,
}

/// Why a cursor is not valid.
#[derive(Debug, PartialEq, Eq)]
pub enum BadCursor {
    /// No server issued it, or it is for another conversation.
    Invalid,
    /// It is from another epoch: the client must start again without a position.
    OtherEpoch,
}

const BYTES: usize = 4 + 16 + 8;

impl Cursor {
    /// The encoded form: opaque to clients, of fixed length.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend(self.epoch.0.to_be_bytes());
        bytes.extend(self.conversation.0.into_bytes());
        bytes.extend(self.seq.to_be_bytes());
        BASE64URL.encode(bytes)
    }

    /// Decodes a cursor of `conversation` in `epoch`.
    pub fn decode(text: &str, conversation: ConversationId, epoch: Epoch) -> Result<Self, BadCursor> {
        let cursor = Self::decode_any(text, epoch);
        match cursor {
            Ok(cursor) if cursor.conversation != conversation => Err(BadCursor::Invalid),
            cursor => cursor,
        }
    }

    /// Decodes a cursor of any conversation in `epoch`.
    pub fn decode_any(text: &str, epoch: Epoch) -> Result<Self, BadCursor> {
        let bytes = BASE64URL.decode(text).map_err(|_| BadCursor::Invalid)?;
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| BadCursor::Invalid)?;
        let [e0, e1, e2, e3, rest @ ..] = bytes;
        let (id, seq) = rest.split_at(16);
        let id = Uuid::from_slice(id).map_err(|_| BadCursor::Invalid)?;
        let seq = i64::from_be_bytes(seq.try_into().map_err(|_| BadCursor::Invalid)?);
        if seq < 0 {
            return Err(BadCursor::Invalid);
        }
        if Epoch(u32::from_be_bytes([e0, e1, e2, e3])) != epoch {
            return Err(BadCursor::OtherEpoch);
        }
        Ok(Self { epoch, conversation: ConversationId(id), seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ConversationId = ConversationId(Uuid::from_u128(7));

    #[test]
    fn cursor_is_equal_after_encode_and_decode() {
        for seq in [0, 1, 255, 1 << 40, i64::MAX] {
            let cursor = Cursor { epoch: Epoch(3), conversation: HERE, seq };
            assert_eq!(Cursor::decode(&cursor.encode(), HERE, Epoch(3)), Ok(cursor));
        }
    }

    /// Clients store cursors.
    #[test]
    fn cursor_has_its_golden_text() {
        let cursor = Cursor { epoch: Epoch(3), conversation: HERE, seq: 258 };
        assert_eq!(cursor.encode(), "AAAAAwAAAAAAAAAAAAAAAAAAAAcAAAAAAAABAg");
    }

    #[test]
    fn cursor_of_other_epoch_or_conversation_is_refused() {
        let text = Cursor { epoch: Epoch(3), conversation: HERE, seq: 5 }.encode();
        assert_eq!(Cursor::decode(&text, HERE, Epoch(4)), Err(BadCursor::OtherEpoch));
        assert_eq!(Cursor::decode(&text, ConversationId(Uuid::nil()), Epoch(3)), Err(BadCursor::Invalid));
        assert_eq!(Cursor::decode(&text[1..], HERE, Epoch(3)), Err(BadCursor::Invalid));
        assert_eq!(Cursor::decode("", HERE, Epoch(3)), Err(BadCursor::Invalid));
    }
}
