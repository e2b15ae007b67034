//! Counts the frames of an HTTP/2 connection that cost a server work and bring nothing: floods of them end the
//! connection. h2 answers each SETTINGS and PING, and so could be kept busy with nothing else.
//!
//! A service also counts RST_STREAM in both directions (rapid reset, CVE-2023-44487, and MadeYouReset, CVE-2025-8671). Its
//! limit does not apply to a peer that has proved to be a service of the mesh: the gateway resets streams whenever its
//! clients disconnect, and the connection that it would lose carries the calls of all other users.

use std::{
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// What a client says before its first frame (RFC 9113, section 3.4).
const PREFACE_BYTES: u32 = 24;
/// The bytes before each frame's payload: length, type, flags, stream (section 4.1).
const HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// The last type that RFC 9113 knows.
const CONTINUATION: u8 = 9;

/// How many idle frames may come at once: the number of responses that nghttp2 and Envoy let wait before they give up
/// (`NGHTTP2_DEFAULT_MAX_OBQ_FLOOD_ITEM`, `max_outbound_control_frames`).
const BURST: u32 = 1_000;
/// How long one takes to be forgotten: 100 a second. Beyond that a peer may send a PING for each HEADERS or DATA that it was
/// sent: gRPC's client in Go measures its bandwidth so, once a round trip as long as responses come.
const PAUSE: Duration = Duration::from_millis(10);
/// How many WINDOW_UPDATEs a peer may send for a DATA frame that it was sent, of the stream and of the connection, and for
/// a stream that it opens: more than it needs, and a number that costs as little as the frames themselves.
const UPDATES: u32 = 4;
/// And one more for so many bytes of it: who reads in small pieces may say so after each.
const BYTES_PER_UPDATE: u32 = 1_024;
/// How many of these may be outstanding: what a peer with a window of 16 MiB reads at last.
const MOST_UPDATES: u32 = 64 * 1_024;

/// A peer's frames, as they come by.
pub struct Frames {
    heard: Walk,
    said: Walk,
    /// PINGs that are no idle frames, because answers were sent to measure by.
    measuring: u32,
    /// WINDOW_UPDATEs that are no idle frames, because there was something to make room for.
    updates: u32,
    idle: Budget,
    /// `None`: resets are not counted here.
    resets: Option<(Budget, PeerTrust)>,
}

/// Whether a connection's peer has proved to be a service of the mesh. Shared by the connection and the calls on it.
#[derive(Debug, Clone, Default)]
pub struct PeerTrust(Arc<AtomicBool>);

impl PeerTrust {
    /// A call on the connection carried a valid service token.
    pub fn prove(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_proved(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A token bucket: [`BURST`] at once, one more each [`PAUSE`].
#[derive(Default)]
struct Budget {
    /// When all that was counted so far is forgotten.
    forgotten: Option<Instant>,
}

impl Budget {
    fn count(&mut self, now: Instant) -> Result<(), Flood> {
        let forgotten = self.forgotten.map_or(now, |at| at.max(now)) + PAUSE;
        self.forgotten = Some(forgotten);
        if forgotten - now > PAUSE * BURST { Err(Flood) } else { Ok(()) }
    }
}

/// The way from frame to frame in the bytes of one direction, however they are cut.
struct Walk {
    /// Bytes of the preface or of a payload that are still to come.
    skip: u32,
    header: [u8; HEADER_BYTES],
    filled: usize,
}

impl Walk {
    fn after(skip: u32) -> Self {
        Self { skip, header: [0; HEADER_BYTES], filled: 0 }
    }

    /// The type of the next frame whose header ends in `bytes`, of which that much is taken, and its payload's length.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<(u8, u32)> {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            *bytes = &bytes[skipped..];
            // No more than `skip`, which is 32 bits.
            self.skip -= u32::try_from(skipped).unwrap_or(u32::MAX);
            let taken = bytes.len().min(HEADER_BYTES - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            (self.filled, *bytes) = (self.filled + taken, &bytes[taken..]);
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                let [a, b, c, kind, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]);
                return Some((kind, self.skip));
            }
        }
        None
    }
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
        Self {
            heard: Walk::after(PREFACE_BYTES),
            said: Walk::after(0),
            measuring: 0,
            updates: 0,
            idle: Budget::default(),
            resets: None,
        }
    }
}

impl Frames {
    /// Counts resets too, until the peer is proved to be a service of the mesh.
    pub fn counting_resets(trust: PeerTrust) -> Self {
        Self { resets: Some((Budget::default(), trust)), ..Self::default() }
    }

    /// Takes note of what has come. The clock is asked for idle frames only.
    pub fn pass(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        while let Some((kind, _)) = self.heard.next(&mut bytes) {
            match kind {
                HEADERS => self.may_update(UPDATES),
                PING if self.measuring > 0 => self.measuring -= 1,
                WINDOW_UPDATE if self.updates > 0 => self.updates -= 1,
                PRIORITY | SETTINGS | PING | WINDOW_UPDATE => self.idle.count(now())?,
                kind if kind > CONTINUATION => self.idle.count(now())?,
                RST_STREAM => self.count_reset(&now)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes note of the first `written` bytes of what was to be sent.
    pub fn sent(&mut self, bufs: &[IoSlice<'_>], mut written: usize, now: impl Fn() -> Instant) -> Result<(), Flood> {
        for buf in bufs {
            let mut bytes = &buf[..written.min(buf.len())];
            written -= bytes.len();
            while let Some((kind, length)) = self.said.next(&mut bytes) {
                if matches!(kind, DATA | HEADERS) {
                    self.measuring = (self.measuring + 1).min(BURST);
                } else if kind == RST_STREAM {
                    self.count_reset(&now)?;
                }
                if kind == DATA {
                    self.may_update(UPDATES + length / BYTES_PER_UPDATE);
                }
            }
        }
        Ok(())
    }

    fn may_update(&mut self, more: u32) {
        self.updates = self.updates.saturating_add(more).min(MOST_UPDATES);
    }

    fn count_reset(&mut self, now: impl Fn() -> Instant) -> Result<(), Flood> {
        match &mut self.resets {
            Some((budget, trust)) if !trust.is_proved() => budget.count(now()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let all = [(PING, 8), (SETTINGS, 0), (SETTINGS, 6), (PRIORITY, 5), (WINDOW_UPDATE, 4), (0xbe, 1_000)];
            for (kind, payload) in all {
                assert_eq!(passed(kind, payload, 5_000, piece, Duration::ZERO), BURST, "{kind} by {piece}");
            }
        }
    }

    #[test]
    fn what_carries_something_is_no_flood() {
        for (kind, payload) in [(DATA, 0), (DATA, 16_384), (HEADERS, 100), (CONTINUATION, 100)] {
            assert_eq!(passed(kind, payload, 5_000, 7, Duration::ZERO), 5_000, "{kind}");
        }
    }

    #[test]
    fn who_asks_now_and_then_may_do_so_for_ever() {
        assert_eq!(passed(PING, 8, 50_000, 17, PAUSE), 50_000);
        assert!(passed(PING, 8, 50_000, 17, PAUSE / 2) < 3 * BURST);
    }

    /// A client that measures is none that floods, as long as it is sent something to measure by.
    #[test]
    fn a_ping_for_each_frame_of_a_response_is_no_flood() {
        for cut in [1, 4, 9, 12, 100] {
            let (mut frames, now) = (Frames::default(), Instant::now());
            assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now), Ok(()));
            let (response, ping) = ([frame(DATA, 3), frame(WINDOW_UPDATE, 4)].concat(), frame(PING, 8));
            for _ in 0..5_000 {
                for piece in response.chunks(cut) {
                    // The rest of the buffer was not written yet.
                    let bufs = [&[][..], &[piece, &response].concat()];
                    assert_eq!(frames.sent(&bufs.map(IoSlice::new), piece.len(), || now), Ok(()));
                }
                assert_eq!(frames.pass(&ping, || now), Ok(()), "by {cut}");
            }
            let more = (0..).take_while(|_| frames.pass(&ping, || now).is_ok()).count();
            assert_eq!(more, BURST as usize, "and nothing was saved up");
        }
    }

    #[test]
    fn window_updates_for_what_was_sent_are_no_flood() {
        let (mut frames, now) = (Frames::default(), Instant::now());
        let update = frame(WINDOW_UPDATE, 4);
        assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now), Ok(()));
        for _ in 0..5_000 {
            // A call, and its response, which the peer reads in pieces of a kibibyte.
            assert_eq!(frames.pass(&[frame(HEADERS, 30), update.clone()].concat(), || now), Ok(()));
            let response = frame(DATA, 16_384);
            assert_eq!(frames.sent(&[IoSlice::new(&response)], response.len(), || now), Ok(()));
            for _ in 0..18 {
                assert_eq!(frames.pass(&update, || now), Ok(()));
            }
        }
        let more = (0..).take_while(|_| frames.pass(&update, || now).is_ok()).count();
        assert!(more <= (MOST_UPDATES + BURST) as usize, "{more}");
    }

    /// Resets are counted in both directions where they are counted at all, and a proved peer is not limited.
    #[test]
    fn resets_are_limited_until_the_peer_is_proved() {
        let (reset, now) = (frame(RST_STREAM, 4), Instant::now());
        let heard = |frames: &mut Frames| frames.pass(&reset, || now);
        let said = |frames: &mut Frames| frames.sent(&[IoSlice::new(&reset)], reset.len(), || now);
        let begin = |mut frames: Frames| {
            assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now), Ok(()));
            frames
        };
        let many = 5 * BURST;
        let passes = |frames: &mut Frames, count: &dyn Fn(&mut Frames) -> Result<(), Flood>| {
            (0..many).take_while(|_| count(frames).is_ok()).count()
        };
        for count in [&heard as &dyn Fn(&mut Frames) -> Result<(), Flood>, &said] {
            let trust = PeerTrust::default();
            let mut frames = begin(Frames::counting_resets(trust.clone()));
            assert_eq!(passes(&mut frames, count), BURST as usize);
            trust.prove();
            assert_eq!(passes(&mut frames, count), many as usize);
            assert_eq!(passes(&mut begin(Frames::default()), count), many as usize);
        }
    }
}
