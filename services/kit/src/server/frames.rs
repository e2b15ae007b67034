//! Counts the frames of an HTTP/2 connection that cost a server work and bring nothing: floods of them end the
//! connection. h2 answers each SETTINGS and PING, and so could be kept busy with nothing else.

use std::{io, time::Duration};

use tokio::time::Instant;

/// What a client says before its first frame (RFC 9113, section 3.4).
const PREFACE_BYTES: u32 = 24;
/// The bytes before each frame's payload: length, type, flags, stream (section 4.1).
const HEADER_BYTES: usize = 9;

const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// The last type that RFC 9113 knows.
const CONTINUATION: u8 = 9;

/// How many idle frames may come at once: the number of answers that nghttp2 and Envoy let wait before they give up
/// (`NGHTTP2_DEFAULT_MAX_OBQ_FLOOD_ITEM`, `max_outbound_control_frames`).
const BURST: u32 = 1_000;
/// How long one takes to be forgotten: 100 a second. gRPC's clients measure their bandwidth with at most 10 PINGs a second.
const PAUSE: Duration = Duration::from_millis(10);

/// A peer's frames, as they come by.
pub struct Frames {
    /// Bytes of the preface or of a payload that are still to come.
    skip: u32,
    header: [u8; HEADER_BYTES],
    filled: usize,
    /// When all idle frames so far are forgotten.
    forgotten: Option<Instant>,
}

/// Too many idle frames: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

impl From<Flood> for io::Error {
    fn from(Flood: Flood) -> Self {
        metrics::counter!("server_floods_total").increment(1);
        Self::other("a flood of frames that bring nothing")
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self { skip: PREFACE_BYTES, header: [0; HEADER_BYTES], filled: 0, forgotten: None }
    }
}

impl Frames {
    /// Takes note of what has come. The clock is asked for idle frames only.
    pub fn pass(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            bytes = &bytes[skipped..];
            // No more than `skip`, which is 32 bits.
            self.skip -= u32::try_from(skipped).unwrap_or(u32::MAX);
            let taken = bytes.len().min(HEADER_BYTES - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            (self.filled, bytes) = (self.filled + taken, &bytes[taken..]);
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                let [a, b, c, kind, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]);
                if matches!(kind, PRIORITY | SETTINGS | PING) || kind > CONTINUATION {
                    self.count(now())?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, now: Instant) -> Result<(), Flood> {
        let forgotten = self.forgotten.map_or(now, |at| at.max(now)) + PAUSE;
        self.forgotten = Some(forgotten);
        if forgotten - now > PAUSE * BURST { Err(Flood) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u8 = 0;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = u32::try_from(payload).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 0]);
        frame.resize(HEADER_BYTES + payload, PING);
        frame
    }

    /// How many of `count` frames pass, when the bytes come in pieces.
    fn passed(kind: u8, payload: usize, count: u32, piece: usize, pause: Duration) -> u32 {
        let (mut frames, mut now) = (Frames::default(), Instant::now());
        assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now), Ok(()));
        for sent in 0..count {
            now += pause;
            for piece in frame(kind, payload).chunks(piece) {
                if frames.pass(piece, || now) == Err(Flood) {
                    return sent;
                }
            }
        }
        count
    }

    #[test]
    fn a_flood_is_noticed_however_it_is_cut() {
        for piece in [1, 2, 9, 10, 4_096] {
            for (kind, payload) in [(PING, 8), (SETTINGS, 0), (SETTINGS, 6), (PRIORITY, 5), (0xbe, 1_000)] {
                assert_eq!(passed(kind, payload, 5_000, piece, Duration::ZERO), BURST, "{kind} by {piece}");
            }
        }
    }

    #[test]
    fn what_carries_something_is_no_flood() {
        for (kind, payload) in [(DATA, 0), (DATA, 16_384), (WINDOW_UPDATE, 4), (CONTINUATION, 100)] {
            assert_eq!(passed(kind, payload, 5_000, 7, Duration::ZERO), 5_000, "{kind}");
        }
    }

    #[test]
    fn who_asks_now_and_then_may_do_so_for_ever() {
        assert_eq!(passed(PING, 8, 50_000, 17, PAUSE), 50_000);
        assert!(passed(PING, 8, 50_000, 17, PAUSE / 2) < 3 * BURST);
    }
}
