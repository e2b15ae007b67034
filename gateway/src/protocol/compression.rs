//! Content encodings of bodies that are one message (RFC 9110, section 8.4).

use std::io::{Error, ErrorKind, Read, Result as IoResult};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use http::HeaderValue;
use tonic::{Code, Status};

use super::{
    framing::Why,
    status::{malformed, request_refused},
};
use crate::http::content_coding::ContentCoding;

/// The encodings that requests may have, as `accept-encoding` lists them.
pub(crate) const ACCEPTED: &str = "gzip, br, zstd";
/// The largest window of a zstd frame, as a power of two: 8 MiB, the value that RFC 8878 recommends to support.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much of a brotli stream is decompressed at once.
const PIECE: usize = 4096;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ContentEncoding {
    #[default]
    Identity,
    Coded(ContentCoding),
}

impl ContentEncoding {
    /// Reads a header; `None`: the request has none.
    pub(crate) fn parse(header: Option<&HeaderValue>) -> Result<Self, Status> {
        let name = header.map_or(Ok(""), HeaderValue::to_str).unwrap_or("?").trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            return Ok(Self::Identity);
        }
        ContentCoding::named(name).map(Self::Coded).ok_or_else(|| {
            let message = format!("the encoding of the body is not supported; supported are {ACCEPTED}");
            kit::error::status(Code::Unimplemented, crate::reason::ENCODING_UNSUPPORTED, message)
        })
    }

    /// Decompresses a whole body, and appends it to `out`. An empty body stays empty. Refuses more than `limit` bytes of
    /// the result, and more than one member or frame: many empty ones would cost time without counting toward the limit.
    pub(crate) fn decompress(self, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        if body.is_empty() {
            return Ok(());
        }
        let before = out.len();
        let rest = match self {
            Self::Identity => read(&mut &*body, limit, out).map(|()| &[][..]),
            Self::Coded(ContentCoding::Gzip) => {
                let mut decoder = flate2::bufread::GzDecoder::new(body);
                read(&mut decoder, limit, out).map(|()| decoder.into_inner())
            }
            Self::Coded(ContentCoding::Brotli) => brotli(body, limit, out),
            Self::Coded(ContentCoding::Zstd) => zstd(body).and_then(|mut decoder| {
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
fn read(source: &mut dyn Read, limit: usize, out: &mut Vec<u8>) -> IoResult<()> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.take(most).read_to_end(out).map(|_| ())
}

/// Appends the first stream of a body, up to a piece more than the limit, and returns the bytes after it. The window
/// is at most 16 MiB (RFC 7932, section 9.1), and lives as long as this call.
fn brotli<'a>(body: &'a [u8], limit: usize, out: &mut Vec<u8>) -> IoResult<&'a [u8]> {
    let alloc = StandardAlloc::default;
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    let mut piece = [0; PIECE];
    let (mut left, mut read, mut total) = (body.len(), 0, 0);
    loop {
        let (mut room, mut written) = (PIECE, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            body,
            &mut room,
            &mut written,
            &mut piece,
            &mut total,
            &mut state,
        );
        out.extend_from_slice(&piece[..written]);
        match result {
            _ if total > limit => return Ok(&[]),
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess => return Ok(&body[read..]),
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => {
                return Err(Error::from(ErrorKind::InvalidData));
            }
        }
    }
}

fn zstd(body: &[u8]) -> IoResult<zstd::stream::read::Decoder<'_, &[u8]>> {
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

    /// A brotli stream of uncompressed meta-blocks (RFC 7932, section 9.2), for at most 64 KiB.
    fn stored_brotli(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len() - 1).unwrap();
        // The window of 64 KiB (0), not the last (0), four nibbles of length (00), the length, uncompressed (1).
        let head = length << 4 | 1 << 20;
        let mut stream = head.to_le_bytes()[..3].to_vec();
        stream.extend_from_slice(bytes);
        // The last meta-block, which is empty.
        stream.push(3);
        stream
    }

    /// 50 MB of zero bytes, compressed by the reference implementation.
    const BROTLI_BOMB: &str = "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfb3ffeffffc13f0110870500\
        baf77ffcffff837f02200e0b0074effff20f5e0fff04401c1600e8a0eb01";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn brotli_of_the_reference_implementation_is_read() {
        let mut out = Vec::new();
        ContentEncoding::Coded(ContentCoding::Brotli).decompress(&unhex("0b028068656c6c6f03"), 5, &mut out).unwrap();
        assert_eq!(out, b"hello");
        out.clear();
        ContentEncoding::Coded(ContentCoding::Brotli).decompress(&unhex(BROTLI_BOMB), 50_000_000, &mut out).unwrap();
        assert_eq!(out, vec![0; 50_000_000]);
    }

    /// A window of up to 1 GiB is no part of `br`.
    #[test]
    fn large_window_of_brotli_is_refused() {
        let large = [0x11, 0x1e, 0x03];
        let refused =
            ContentEncoding::Coded(ContentCoding::Brotli).decompress(&large, 1_000, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    #[test]
    fn bodies_are_decompressed_within_the_limit() {
        let plain = vec![7; 1_000];
        let packed = zstd::stream::encode_all(&plain[..], 3).unwrap();
        let brotli = stored_brotli(&plain);
        for (encoding, body) in [
            (ContentEncoding::Identity, plain.clone()),
            (ContentEncoding::Coded(ContentCoding::Gzip), gzip(&plain)),
            (ContentEncoding::Coded(ContentCoding::Brotli), brotli),
            (ContentEncoding::Coded(ContentCoding::Zstd), packed),
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
        let plain = vec![0; 50_000_000];
        for (encoding, bomb) in [
            (ContentEncoding::Coded(ContentCoding::Gzip), gzip(&plain)),
            (ContentEncoding::Coded(ContentCoding::Brotli), unhex(BROTLI_BOMB)),
            (ContentEncoding::Coded(ContentCoding::Zstd), zstd::stream::encode_all(&plain[..], 3).unwrap()),
        ] {
            let mut out = Vec::new();
            let refused = encoding.decompress(&bomb, 1_000, &mut out).unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted, "{encoding:?}");
            assert!(out.capacity() < 10_000, "{encoding:?}: {}", out.capacity());
        }
    }

    #[test]
    fn truncated_and_other_bodies_are_refused() {
        for (encoding, body) in [
            (ContentEncoding::Coded(ContentCoding::Gzip), &gzip(b"message")[..20]),
            (ContentEncoding::Coded(ContentCoding::Gzip), b"message"),
            (ContentEncoding::Coded(ContentCoding::Gzip), &gzip(b"").repeat(2)),
            (ContentEncoding::Coded(ContentCoding::Brotli), &stored_brotli(b"message")[..8]),
            (ContentEncoding::Coded(ContentCoding::Brotli), b"message"),
            (ContentEncoding::Coded(ContentCoding::Brotli), &stored_brotli(b"message").repeat(2)),
            (ContentEncoding::Coded(ContentCoding::Zstd), b"message"),
            (ContentEncoding::Coded(ContentCoding::Zstd), &zstd::stream::encode_all(&b""[..], 3).unwrap().repeat(2)),
        ] {
            let refused = encoding.decompress(body, 1_000, &mut Vec::new()).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{encoding:?}");
        }
    }
}
