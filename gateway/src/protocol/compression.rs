//! Content encodings of bodies that are one message (RFC 9110, section 8.4).

use std::io::Read;

use http::HeaderValue;
use tonic::{Code, Status};

use super::status::{malformed, request_refused};
use crate::protocol::framing::Why;

/// The encodings that requests may have, as `accept-encoding` lists them.
pub(super) const ACCEPTED: &str = "gzip, zstd";
/// The largest window of a zstd frame, as a power of two: 8 MiB, the value that RFC 8878 recommends to support.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentEncoding {
    Identity,
    Gzip,
    Zstd,
}

impl ContentEncoding {
    /// Reads a header; `None`: the request has none.
    pub(super) fn parse(header: Option<&HeaderValue>) -> Result<Self, Status> {
        match header.map(|value| value.as_bytes().trim_ascii()) {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip" | b"x-gzip") => Ok(Self::Gzip),
            Some(b"zstd") => Ok(Self::Zstd),
            Some(_) => {
                let message = format!("the encoding of the body is not supported; supported are {ACCEPTED}");
                Err(kit::error::status(Code::Unimplemented, "ENCODING_UNSUPPORTED", message))
            }
        }
    }

    /// Decompresses a whole body, and appends it to `out`. Refuses more than `limit` bytes of the result, and more than
    /// one member or frame: many empty ones would cost time without counting toward the limit.
    pub(super) fn decompress(self, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        let before = out.len();
        let rest = match self {
            Self::Identity => read(&mut &*body, limit, out).map(|()| &[][..]),
            Self::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(body);
                read(&mut decoder, limit, out).map(|()| decoder.into_inner())
            }
            Self::Zstd => zstd(body).and_then(|mut decoder| {
                read(&mut decoder, limit, out)?;
                Ok(decoder.finish())
            }),
        };
        let rest = rest.map_err(|_| Box::new(malformed("the body cannot be decompressed")))?;
        if out.len() - before > limit {
            return Err(Box::new(request_refused(Why::TooLarge)));
        }
        if !rest.is_empty() {
            return Err(Box::new(malformed("the compressed body has more than one member or frame")));
        }
        Ok(())
    }
}

/// Reads up to a byte more than the limit.
fn read(source: &mut dyn Read, limit: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.take(most).read_to_end(out).map(|_| ())
}

fn zstd(body: &[u8]) -> std::io::Result<zstd::stream::read::Decoder<'_, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?.single_frame();
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_are_decompressed_within_the_limit() {
        let plain = vec![7; 1_000];
        let packed = zstd::stream::encode_all(&plain[..], 3).unwrap();
        for (encoding, body) in [
            (ContentEncoding::Identity, plain.clone()),
            (ContentEncoding::Gzip, gzip(&plain)),
            (ContentEncoding::Zstd, packed),
        ] {
            let mut out = vec![1];
            encoding.decompress(&body, 1_000, &mut out).unwrap();
            assert_eq!(out[1..], plain, "{encoding:?}");
            let refused = encoding.decompress(&body, 999, &mut Vec::new()).unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted, "{encoding:?}");
        }
    }

    /// A bomb costs what the limit allows, not what it declares.
    #[test]
    fn a_decompression_bomb_is_refused() {
        let bomb = gzip(&vec![0; 50_000_000]);
        let mut out = Vec::new();
        assert!(ContentEncoding::Gzip.decompress(&bomb, 1_000, &mut out).is_err());
        assert!(out.capacity() < 10_000);
    }

    #[test]
    fn truncated_and_other_bodies_are_refused() {
        for (encoding, body) in [
            (ContentEncoding::Gzip, &gzip(b"message")[..20]),
            (ContentEncoding::Gzip, b"message"),
            (ContentEncoding::Gzip, &gzip(b"").repeat(2)),
            (ContentEncoding::Zstd, b"message"),
            (ContentEncoding::Zstd, &zstd::stream::encode_all(&b""[..], 3).unwrap().repeat(2)),
        ] {
            let refused = encoding.decompress(body, 1_000, &mut Vec::new()).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{encoding:?}");
        }
    }
}
