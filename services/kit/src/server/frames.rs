//! Detects floods of HTTP/2 frames that cost a server work without a request, and ends the connection. h2 responds to
//! each SETTINGS and PING, so a flood of them could keep it busy.
//!
//! A service also counts RST_STREAM in both directions (rapid reset, CVE-2023-44487, and MadeYouReset, CVE-2025-8671).
//! That limit does not apply to a proved service of the mesh: the gateway resets streams whenever its clients
//! disconnect, and its connection carries the calls of all other users.

use std::{
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The length of the client's preface (RFC 9113, section 3.4).
const PREFACE_BYTES: u32 = 24;
/// The length of a frame header: length, type, flags, stream (section 4.1).
const HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// The highest frame type of RFC 9113.
const CONTINUATION: u8 = 9;

/// The burst of idle frames: as many as nghttp2 and Envoy queue responses for before they close the connection
/// (`NGHTTP2_DEFAULT_MAX_OBQ_FLOOD_ITEM`, `max_outbound_control_frames`).
const BURST: u32 = 1_000;
/// The refill interval: 100 idle frames a second. In addition, a peer may send one PING for each HEADERS or DATA frame
/// that it gets: gRPC's client in Go measures its bandwidth with one PING each round trip during responses.
const PAUSE: Duration = Duration::from_millis(10);
/// How many WINDOW_UPDATEs (of the stream and of the connection) a peer may send for each DATA frame that it gets and
/// each stream that it opens: more than it needs, and cheap.
const UPDATES: u32 = 4;
/// One more for this many bytes of DATA, for peers that read in small pieces.
const BYTES_PER_UPDATE: u32 = 1_024;
/// The maximum of saved WINDOW_UPDATEs: enough for a peer that reads a window of 16 MiB at once.
const MOST_UPDATES: u32 = 64 * 1_024;

/// The frame counts of one connection.
pub struct Frames {
    received: FrameScanner,
    sent: FrameScanner,
    /// PINGs that do not count as idle, because of sent HEADERS and DATA.
    measuring: u32,
    /// WINDOW_UPDATEs that do not count as idle, because of sent DATA and opened streams.
    updates: u32,
    idle: FrameBudget,
    /// `None`: resets are not counted.
    resets: Option<(FrameBudget, PeerTrust)>,
}

/// Whether a connection's peer is a proved service of the mesh. Shared by the connection and its calls.
#[derive(Debug, Clone, Default)]
pub struct PeerTrust(Arc<AtomicBool>);

impl PeerTrust {
    /// Records that a call on the connection carried a valid service token.
    pub fn prove(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_proved(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A token bucket with [`BURST`] tokens and one more each [`PAUSE`].
#[derive(Default)]
struct FrameBudget {
    /// When the bucket is full again.
    full_at: Option<Instant>,
}

impl FrameBudget {
    fn count(&mut self, now: Instant) -> Result<(), Flood> {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + PAUSE;
        self.full_at = Some(full_at);
        if full_at - now > PAUSE * BURST { Err(Flood) } else { Ok(()) }
    }
}

/// Finds the frame headers in the bytes of one direction, which arrive in arbitrary pieces.
struct FrameScanner {
    /// The remaining bytes of the preface or of a payload.
    skip: u32,
    header: [u8; HEADER_BYTES],
    filled: usize,
}

impl FrameScanner {
    fn after(skip: u32) -> Self {
        Self { skip, header: [0; HEADER_BYTES], filled: 0 }
    }

    /// The type and payload length of the next frame whose header ends in `bytes`. Consumes `bytes` up to the header's
    /// end.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<(u8, u32)> {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            *bytes = &bytes[skipped..];
            // At most `skip`, which has 32 bits.
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

/// Too many idle frames: the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

impl From<Flood> for io::Error {
    fn from(Flood: Flood) -> Self {
        metrics::counter!("server_floods_total").increment(1);
        Self::other("the peer floods the connection with control frames")
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            received: FrameScanner::after(PREFACE_BYTES),
            sent: FrameScanner::after(0),
            measuring: 0,
            updates: 0,
            idle: FrameBudget::default(),
            resets: None,
        }
    }
}

impl Frames {
    /// Also counts resets until the peer is a proved service of the mesh.
    pub fn counting_resets(trust: PeerTrust) -> Self {
        Self { resets: Some((FrameBudget::default(), trust)), ..Self::default() }
    }

    /// Counts received bytes. Reads the clock only for idle frames.
    pub fn pass(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        while let Some((kind, _)) = self.received.next(&mut bytes) {
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

    /// Counts the first `written` bytes of `bufs` as sent.
    pub fn sent(&mut self, bufs: &[IoSlice<'_>], mut written: usize, now: impl Fn() -> Instant) -> Result<(), Flood> {
        for buf in bufs {
            let mut bytes = &buf[..written.min(buf.len())];
            written -= bytes.len();
            while let Some((kind, length)) = self.sent.next(&mut bytes) {
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
    fn flood_is_detected_in_pieces_of_any_size() {
        for piece in [1, 2, 9, 10, 4_096] {
            let all = [(PING, 8), (SETTINGS, 0), (SETTINGS, 6), (PRIORITY, 5), (WINDOW_UPDATE, 4), (0xbe, 1_000)];
            for (kind, payload) in all {
                assert_eq!(passed(kind, payload, 5_000, piece, Duration::ZERO), BURST, "{kind} by {piece}");
            }
        }
    }

    #[test]
    fn frames_of_requests_are_no_flood() {
        for (kind, payload) in [(DATA, 0), (DATA, 16_384), (HEADERS, 100), (CONTINUATION, 100)] {
            assert_eq!(passed(kind, payload, 5_000, 7, Duration::ZERO), 5_000, "{kind}");
        }
    }

    #[test]
    fn pings_at_the_refill_rate_are_no_flood() {
        assert_eq!(passed(PING, 8, 50_000, 17, PAUSE), 50_000);
        assert!(passed(PING, 8, 50_000, 17, PAUSE / 2) < 3 * BURST);
    }

    /// A client may measure its bandwidth with PINGs while it gets responses.
    #[test]
    fn ping_for_each_frame_of_a_response_is_no_flood() {
        for cut in [1, 4, 9, 12, 100] {
            let (mut frames, now) = (Frames::default(), Instant::now());
            assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now), Ok(()));
            let (response, ping) = ([frame(DATA, 3), frame(WINDOW_UPDATE, 4)].concat(), frame(PING, 8));
            for _ in 0..5_000 {
                for piece in response.chunks(cut) {
                    // The rest of the buffer is not written yet.
                    let bufs = [&[][..], &[piece, &response].concat()];
                    assert_eq!(frames.sent(&bufs.map(IoSlice::new), piece.len(), || now), Ok(()));
                }
                assert_eq!(frames.pass(&ping, || now), Ok(()), "by {cut}");
            }
            let more = (0..).take_while(|_| frames.pass(&ping, || now).is_ok()).count();
            assert_eq!(more, BURST as usize, "unused PINGs are not saved");
        }
    }

    #[test]
    fn window_updates_for_what_was_sent_are_no_flood() {
        let (mut frames, now) = (Frames::default(), Instant::now());
        let update = frame(WINDOW_UPDATE, 4);
        assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now), Ok(()));
        for _ in 0..5_000 {
            // A call and its response, which the peer reads in pieces of 1 KiB.
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

    /// Resets are counted in both directions if they are counted, and a proved peer is not limited.
    #[test]
    fn resets_are_limited_until_the_peer_is_proved() {
        let (reset, now) = (frame(RST_STREAM, 4), Instant::now());
        let received = |frames: &mut Frames| frames.pass(&reset, || now);
        let sent = |frames: &mut Frames| frames.sent(&[IoSlice::new(&reset)], reset.len(), || now);
        let begin = |mut frames: Frames| {
            assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || now), Ok(()));
            frames
        };
        let many = 5 * BURST;
        let passes = |frames: &mut Frames, count: &dyn Fn(&mut Frames) -> Result<(), Flood>| {
            (0..many).take_while(|_| count(frames).is_ok()).count()
        };
        for count in [&received as &dyn Fn(&mut Frames) -> Result<(), Flood>, &sent] {
            let trust = PeerTrust::default();
            let mut frames = begin(Frames::counting_resets(trust.clone()));
            assert_eq!(passes(&mut frames, count), BURST as usize);
            trust.prove();
            assert_eq!(passes(&mut frames, count), many as usize);
            assert_eq!(passes(&mut begin(Frames::default()), count), many as usize);
        }
    }
}
