//! Streams whose frames hold JSON instead of protobuf, or compressed messages, which the upstream need not support.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use super::{
    codec::MethodCodec,
    compression::ContentEncoding,
    framing::{COMPRESSED, FrameMeter, FrameReader, HEAD, Refused, check_flags, head},
    status::{body_cut_off, malformed, request_refused},
};

/// How many bytes are converted before they are passed on.
const BATCH: usize = 64 * 1024;

/// Makes the frames of a request gRPC frames with uncompressed protobuf.
#[derive(Debug)]
pub(crate) struct FramesDecoder {
    /// Converts messages in JSON; `None`: they are protobuf.
    codec: Option<Arc<MethodCodec>>,
    /// How marked messages are compressed.
    compression: ContentEncoding,
    limit: usize,
    /// Bounds what `frames` collects.
    meter: FrameMeter,
    frames: FrameReader,
    /// The last batch was full, so that more messages may be complete.
    has_more: bool,
}

impl FramesDecoder {
    pub(super) fn new(codec: Option<Arc<MethodCodec>>, compression: ContentEncoding, limit: usize) -> Self {
        let (meter, frames) = (FrameMeter::new(limit), FrameReader::default());
        Self { codec, compression, limit, meter, frames, has_more: false }
    }

    /// Returns a batch of the frames that the piece completes; empty: none. Further batches need no piece.
    pub(super) fn decode(&mut self, piece: Bytes) -> Result<Bytes, Box<Status>> {
        if !piece.is_empty() {
            self.meter.pass(&piece).map_err(|Refused { why, .. }| Box::new(request_refused(why)))?;
            self.frames.push(piece);
        }
        let mut out = Vec::new();
        self.has_more = false;
        while let Some((flags, message)) = self.frames.next() {
            self.append(flags, &message, &mut out)?;
            if out.len() >= BATCH {
                self.has_more = true;
                break;
            }
        }
        Ok(out.into())
    }

    fn append(&self, flags: u8, message: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        if flags != COMPRESSED {
            return frame(out, |out| self.put(message, out));
        }
        if self.compression == ContentEncoding::Identity {
            return Err(Box::new(malformed("a message is compressed, but connect-content-encoding is not set")));
        }
        let mut plain = Vec::new();
        self.compression.decompress(message, self.limit, &mut plain)?;
        frame(out, |out| self.put(&plain, out))
    }

    /// Appends an uncompressed message as protobuf.
    fn put(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        match &self.codec {
            Some(codec) => codec.parse(message, self.limit, out),
            None => {
                out.extend_from_slice(message);
                Ok(())
            }
        }
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Ends the body, which must not end within a message.
    pub(super) fn finish(&self) -> Result<Bytes, Box<Status>> {
        if self.meter.is_whole() { Ok(Bytes::new()) } else { Err(Box::new(body_cut_off())) }
    }

    /// Whether the body may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.meter.is_whole() && !self.has_more
    }
}

/// Makes the gRPC frames of a response JSON frames.
#[derive(Debug)]
pub(crate) struct JsonFramesEncoder {
    codec: Arc<MethodCodec>,
    frames: FrameReader,
}

impl JsonFramesEncoder {
    pub(super) fn new(codec: Arc<MethodCodec>) -> Self {
        Self { codec, frames: FrameReader::default() }
    }

    /// Returns the frames that the piece completes, up to a message that cannot be encoded.
    pub(super) fn encode(&mut self, piece: Bytes) -> (Bytes, Option<Box<Status>>) {
        self.frames.push(piece);
        let mut out = Vec::new();
        while let Some((flags, message)) = self.frames.next() {
            let start = out.len();
            let appended = check_flags(flags).and_then(|()| frame(&mut out, |out| self.codec.print(&message, out)));
            if let Err(status) = appended {
                out.truncate(start);
                return (out.into(), Some(status));
            }
        }
        (out.into(), None)
    }
}

/// Appends a frame with the message that `write` appends.
fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Box<Status>>) -> Result<(), Box<Status>> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    write(out)?;
    let length = out.len() - start - HEAD;
    out[start..start + HEAD].copy_from_slice(&head(length));
    Ok(())
}
