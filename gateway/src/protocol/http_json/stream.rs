//! Streams of responses: newline-delimited JSON, and server-sent events (WHATWG HTML, section 9.2).
//!
//! A line of newline-delimited JSON is `{"result": message}`, and after a failure the last line is `{"error": status}`.
//! An event of server-sent events holds a message; the last one has the type `end` and holds the status. A stream
//! without this end was cut off.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tonic::{Code, Status};

use super::{HttpJson, accepts};
use crate::protocol::{framing::FrameReader, status::response_malformed};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// The form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamForm {
    /// Newline-delimited JSON.
    Lines,
    /// Server-sent events.
    Events,
}

impl StreamForm {
    /// The form that the client asks for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if accepts(headers, EVENTS) { Self::Events } else { Self::Lines }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Lines => LINES,
            Self::Events => EVENTS,
        }
    }

    /// The texts before and after a message.
    fn around_message(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Lines => (b"{\"result\":", b"}\n"),
            Self::Events => (b"data: ", b"\n\n"),
        }
    }
}

/// Encodes a stream of responses.
#[derive(Debug)]
pub(crate) struct StreamEncoder {
    call: HttpJson,
    form: StreamForm,
    frames: FrameReader,
}

impl StreamEncoder {
    pub(super) fn new(call: HttpJson, form: StreamForm) -> Self {
        Self { call, form, frames: FrameReader::default() }
    }

    /// Returns the messages that the piece completes; empty: none.
    pub(in super::super) fn encode(&mut self, piece: Bytes) -> Result<Bytes, Box<Status>> {
        self.frames.push(piece);
        let (before, after) = self.form.around_message();
        let mut out = Vec::new();
        while let Some((flags, message)) = self.frames.next() {
            if flags != 0 {
                return Err(Box::new(response_malformed("a message is compressed, which the request does not allow")));
            }
            out.extend_from_slice(before);
            self.call.append_response(&message, &mut out)?;
            out.extend_from_slice(after);
        }
        Ok(out.into())
    }

    /// A comment, which clients ignore. Proxies then do not take the stream for idle.
    pub(in super::super) fn heartbeat(&self) -> Option<Bytes> {
        (self.form == StreamForm::Events).then_some(Bytes::from_static(b":\n\n"))
    }

    /// Ends the stream with trailers that state its status.
    pub(in super::super) fn end(&self, trailers: &HeaderMap) -> Frame<Bytes> {
        let status = Status::from_header_map(trailers).unwrap_or_else(|| Status::unknown("the status is missing"));
        let mut out = Vec::new();
        match self.form {
            StreamForm::Lines if status.code() == Code::Ok => {}
            StreamForm::Lines => {
                out.extend_from_slice(b"{\"error\":");
                self.call.append_status(&status, &mut out);
                out.extend_from_slice(b"}\n");
            }
            StreamForm::Events => {
                out.extend_from_slice(b"event: end\ndata: ");
                self.call.append_status(&status, &mut out);
                out.extend_from_slice(b"\n\n");
            }
        }
        Frame::data(out.into())
    }
}
