//! The payload of a wake-up: a version, the sender, and 24 bytes per signal.
//!
//! ```text
//! 1  version   16  replica   then, each: 16  subject   8  reached, big-endian
//! ```
//!
//! A payload without signals means: the sender had more signals than it could keep, so check all subjects.

use uuid::Uuid;

use super::Signal;

/// Payloads of another version are ignored.
const VERSION: u8 = 1;
const HEAD: usize = 1 + 16;
const SIGNAL: usize = 16 + 8;

/// The signals that one replica sends together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// The sender: a random id, new at each start.
    pub(super) replica: Uuid,
    pub(super) signals: Vec<Signal>,
}

impl Payload {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.signals.len() * SIGNAL);
        bytes.push(VERSION);
        bytes.extend(self.replica.as_bytes());
        for signal in &self.signals {
            bytes.extend(signal.subject.as_bytes());
            bytes.extend(signal.reached.to_be_bytes());
        }
        bytes
    }

    /// `None`: not a payload, or one of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, body) = bytes.split_first_chunk::<HEAD>()?;
        let (version, replica) = head.split_first()?;
        let (signals, rest) = body.as_chunks::<SIGNAL>();
        if *version != VERSION || !rest.is_empty() {
            return None;
        }
        let signals = signals.iter().map(signal).collect::<Option<_>>()?;
        Some(Self { replica: Uuid::from_slice(replica).ok()?, signals })
    }
}

fn signal(bytes: &[u8; SIGNAL]) -> Option<Signal> {
    let (subject, reached) = bytes.split_first_chunk::<16>()?;
    Some(Signal { subject: Uuid::from_bytes(*subject), reached: i64::from_be_bytes(reached.try_into().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(signals: usize) -> Payload {
        let signals = (0..i64::try_from(signals).unwrap())
            .map(|n| Signal { subject: Uuid::from_u128(n.unsigned_abs().into()), reached: n * i64::from(i32::MIN) })
            .collect();
        Payload { replica: Uuid::from_u128(7), signals }
    }

    #[test]
    fn encoded_payload_decodes_to_itself() {
        for signals in [0, 1, 2, 100] {
            let payload = payload(signals);
            assert_eq!(Payload::decode(&payload.encode()), Some(payload));
        }
    }

    /// Replicas of different releases exchange these bytes during a rolling update.
    #[test]
    fn payload_has_its_golden_bytes() {
        let signals = vec![Signal { subject: Uuid::from_u128(0x0102), reached: -2 }];
        let payload = Payload { replica: Uuid::from_u128(7), signals };
        let hex: String = payload.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "010000000000000000000000000000000700000000000000000000000000000102fffffffffffffffe");
    }

    #[test]
    fn malformed_or_newer_payload_is_ignored() {
        let good = payload(2).encode();
        for cut in (0..good.len()).filter(|cut| *cut < HEAD || !(cut - HEAD).is_multiple_of(SIGNAL)) {
            assert_eq!(Payload::decode(&good[..cut]), None, "{cut} bytes");
        }
        let newer = [&[VERSION + 1], &good[1..]].concat();
        assert_eq!(Payload::decode(&newer), None);
        assert_eq!(Payload::decode(b"hello, is this a chat?"), None);
    }
}
