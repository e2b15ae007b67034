//! Streams of responses: newline-delimited JSON, and server-sent events (WHATWG HTML, section 9.2).
//!
//! A line of newline-delimited JSON is `{"result": message}`, and after a failure the last line is `{"error": status}`.
//! An event of server-sent events holds a message; the last one has the type `end` and holds the status. A stream
//! without this end was cut off. Trailers are the member `trailers` of the last line or of the status.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tonic::{Code, Status};

use super::{HttpJson, accepts};
use crate::protocol::{
    framing::{FrameReader, check_flags},
    metadata,
    status::no_status,
};

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
    call: Arc<HttpJson>,
    form: StreamForm,
    frames: FrameReader,
    /// The line that comes before the first event; empty: none, or it has been sent.
    retry: String,
}

impl StreamEncoder {
    pub(super) fn new(call: Arc<HttpJson>, form: StreamForm) -> Self {
        let millis = call.forms.retry.as_millis();
        let retry = if form == StreamForm::Events && millis > 0 { format!("retry: {millis}\n") } else { String::new() };
        Self { call, form, frames: FrameReader::default(), retry }
    }

    /// Returns the messages that the piece completes, up to one that cannot be encoded.
    pub(in super::super) fn encode(&mut self, piece: Bytes) -> (Bytes, Option<Box<Status>>) {
        self.frames.push(piece);
        let mut out = Vec::new();
        while let Some((flags, message)) = self.frames.next() {
            let start = out.len();
            if let Err(status) = self.append(flags, &message, &mut out) {
                out.truncate(start);
                return (out.into(), Some(status));
            }
        }
        (out.into(), None)
    }

    fn append(&mut self, flags: u8, message: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        check_flags(flags)?;
        let (before, after) = self.form.around_message();
        if self.form == StreamForm::Events {
            self.append_retry(out);
            self.call.append_event_id(message, out);
        }
        out.extend_from_slice(before);
        self.call.append_response(message, out)?;
        out.extend_from_slice(after);
        Ok(())
    }

    fn append_retry(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(std::mem::take(&mut self.retry).as_bytes());
    }

    /// A comment, which clients ignore. Proxies then do not take the stream for idle.
    pub(in super::super) fn heartbeat(&self) -> Option<Bytes> {
        (self.form == StreamForm::Events).then_some(Bytes::from_static(b":\n\n"))
    }

    /// Ends the stream with trailers that state its status.
    pub(in super::super) fn end(&mut self, trailers: &HeaderMap) -> Frame<Bytes> {
        let status = Status::from_header_map(trailers).unwrap_or_else(no_status);
        let metadata = metadata::object(trailers).map(|metadata| metadata.to_string());
        let mut out = Vec::new();
        match self.form {
            StreamForm::Lines => {
                if status.code() != Code::Ok {
                    out.extend_from_slice(b"{\"error\":");
                    self.call.append_status(&status, &mut out);
                    out.push(b'}');
                }
                append_member(metadata.as_deref(), &mut out);
                if !out.is_empty() {
                    out.push(b'\n');
                }
            }
            StreamForm::Events => {
                self.append_retry(&mut out);
                out.extend_from_slice(b"event: end\ndata: ");
                self.call.append_status(&status, &mut out);
                append_member(metadata.as_deref(), &mut out);
                out.extend_from_slice(b"\n\n");
            }
        }
        Frame::data(out.into())
    }
}

/// Adds the trailers to the object at the end of `out`. Empty: makes an object of them.
fn append_member(trailers: Option<&str>, out: &mut Vec<u8>) {
    let Some(trailers) = trailers else { return };
    let before: &[u8] = if out.pop().is_some() { b"," } else { b"{" };
    for part in [before, b"\"trailers\":", trailers.as_bytes(), b"}"] {
        out.extend_from_slice(part);
    }
}
