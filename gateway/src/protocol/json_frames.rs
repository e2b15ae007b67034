//! Streams whose frames hold JSON instead of protobuf.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use super::{
    codec::MethodCodec,
    compression::ContentEncoding,
    framing::{FrameMeter, FrameReader, HEAD, Refused, head},
    status::{malformed, request_refused, response_malformed},
};

/// The flag of a compressed message.
const COMPRESSED: u8 = 1;

/// Makes the JSON frames of a request gRPC frames.
#[derive(Debug)]
pub(crate) struct JsonFramesDecoder {
    codec: Arc<MethodCodec>,
    /// How marked messages are compressed.
    compression: ContentEncoding,
    limit: usize,
    /// Bounds what `frames` collects.
    meter: FrameMeter,
    frames: FrameReader,
}

impl JsonFramesDecoder {
    pub(super) fn new(codec: Arc<MethodCodec>, compression: ContentEncoding, limit: usize) -> Self {
        Self { codec, compression, limit, meter: FrameMeter::new(limit), frames: FrameReader::default() }
    }

    /// Returns the frames that the piece completes; empty: none.
    pub(super) fn decode(&mut self, piece: Bytes) -> Result<Bytes, Box<Status>> {
        self.meter.pass(&piece).map_err(|Refused { why, .. }| Box::new(request_refused(why)))?;
        self.frames.push(piece);
        let mut out = Vec::new();
        while let Some((flags, message)) = self.frames.next() {
            if flags == COMPRESSED {
                if self.compression == ContentEncoding::Identity {
                    return Err(Box::new(malformed(
                        "a message is compressed, but connect-content-encoding is not set",
                    )));
                }
                let mut json = Vec::new();
                self.compression.decompress(&message, self.limit, &mut json)?;
                frame(&mut out, |out| self.codec.parse(&json, self.limit, out))?;
            } else {
                frame(&mut out, |out| self.codec.parse(&message, self.limit, out))?;
            }
        }
        Ok(out.into())
    }

    /// Whether the body may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.meter.is_whole()
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

    /// Returns the frames that the piece completes; empty: none.
    pub(super) fn encode(&mut self, piece: Bytes) -> Result<Bytes, Box<Status>> {
        self.frames.push(piece);
        let mut out = Vec::new();
        while let Some((flags, message)) = self.frames.next() {
            if flags != 0 {
                return Err(Box::new(response_malformed("a message is compressed, which the request does not allow")));
            }
            frame(&mut out, |out| self.codec.print(&message, out))?;
        }
        Ok(out.into())
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
