//! A minimal HTTP/1.1 client. The load shares a core with the service, so its own cost reduces the service's throughput.

use std::net::Ipv4Addr;

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    Received, Request,
    body::{self, Body},
    frames::Stamp,
};

/// The size of the read buffer.
const READ: usize = 64 * 1024;

pub(crate) struct Http1 {
    stream: TcpStream,
    buffer: BytesMut,
}

/// How the body of a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

impl Http1 {
    pub(super) async fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(READ) })
    }

    pub(super) async fn call(
        &mut self,
        request: &Request,
        mut on_message: impl FnMut(Stamp),
    ) -> Result<Received, String> {
        self.stream.write_all(&request.text).await.map_err(|e| e.to_string())?;
        let head = self.line(b"\r\n\r\n").await?;
        let (head, length) = parse(&head, request.dialect.content_type())?;
        let mut body = Body::new(request);
        match length {
            Length::Known(length) => self.body(length, &mut body, &mut on_message).await?,
            Length::Chunked => self.chunks(&mut body, &mut on_message).await?,
        }
        body.received(&head)
    }

    async fn chunks(&mut self, body: &mut Body, on_message: &mut impl FnMut(Stamp)) -> Result<(), String> {
        loop {
            let size = self.line(b"\r\n").await?;
            let size = std::str::from_utf8(&size).ok().and_then(|text| {
                let digits = text.split(';').next()?.trim();
                usize::from_str_radix(digits, 16).ok()
            });
            let size = size.ok_or("a chunk has no size")?;
            if size == 0 {
                // Trailers, then an empty line.
                while self.line(b"\r\n").await?.len() > 2 {}
                return Ok(());
            }
            self.body(size, body, on_message).await?;
            self.line(b"\r\n").await?;
        }
    }

    async fn body(
        &mut self,
        mut left: usize,
        body: &mut Body,
        on_message: &mut impl FnMut(Stamp),
    ) -> Result<(), String> {
        while left > 0 {
            if self.buffer.is_empty() {
                self.read().await?;
            }
            let here = left.min(self.buffer.len());
            body.feed(&self.buffer[..here], on_message)?;
            self.buffer.advance(here);
            left -= here;
        }
        Ok(())
    }

    /// Reads up to and including `end`.
    async fn line(&mut self, end: &[u8]) -> Result<BytesMut, String> {
        let mut seen: usize = 0;
        loop {
            let from = seen.saturating_sub(end.len());
            if let Some(at) = self.buffer[from..].windows(end.len()).position(|window| window == end) {
                return Ok(self.buffer.split_to(from + at + end.len()));
            }
            seen = self.buffer.len();
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        self.buffer.reserve(READ);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Parses the head of a response. `content_type` is the begin of the expected one.
fn parse(head: &[u8], content_type: &str) -> Result<(body::Head, Length), String> {
    let text = std::str::from_utf8(head).map_err(|e| e.to_string())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| format!("not an HTTP/1.1 response: {text:?}"))?;
    let mut parsed = body::Head { status, grpc_status: None, is_typed: false, closes: false };
    let mut length = Length::Known(0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Length::Known(value.parse().map_err(|_| "content-length is not a number")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("content-type") {
            parsed.is_typed = value.starts_with(content_type);
        } else if name.eq_ignore_ascii_case("grpc-status") {
            parsed.grpc_status = value.parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            parsed.closes = value.eq_ignore_ascii_case("close");
        }
    }
    Ok((parsed, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_determines_the_body_length() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ncontent-type: application/json; x=y\r\n\r\n";
        let parsed = body::Head { status: 200, grpc_status: None, is_typed: true, closes: false };
        assert_eq!(parse(chunked, "application/json"), Ok((parsed, Length::Chunked)));
        let refused = b"HTTP/1.1 429 Slow\r\ncontent-length: 18\r\ngrpc-status: 8\r\nconnection: close\r\n\r\n";
        let parsed = body::Head { status: 429, grpc_status: Some(8), is_typed: false, closes: true };
        assert_eq!(parse(refused, "application/json"), Ok((parsed, Length::Known(18))));
        assert!(parse(b"hello\r\n\r\n", "application/json").is_err());
    }
}
