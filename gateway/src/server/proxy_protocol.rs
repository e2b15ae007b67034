//! The PROXY protocol, version 2: the header in which a load balancer that forwards bytes states the client's address,
//! before the client's first byte (haproxy.org, "The PROXY protocol", section 2.2).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first bytes of every header.
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The limit on addresses and extensions together; the standard's own addresses take 216 at most.
const MOST_BYTES: u16 = 2_048;

/// Reads the header. Returns the client's address; `None` for a connection of the proxy's own (a health check).
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    let [.., command, family, high, low] = head;
    let length = u16::from_be_bytes([high, low]);
    if head[..12] != SIGNATURE || command >> 4 != 2 || length > MOST_BYTES {
        return Err(malformed());
    }
    let mut rest = vec![0; usize::from(length)];
    stream.read_exact(&mut rest).await?;
    match command & 0x0f {
        // LOCAL: the addresses are ignored.
        0 => Ok(None),
        1 => addresses(family, &rest).map(Some),
        _ => Err(malformed()),
    }
}

/// The source address; TCP only.
fn addresses(family: u8, rest: &[u8]) -> io::Result<SocketAddr> {
    let part = |range: std::ops::Range<usize>| rest.get(range).ok_or_else(malformed);
    let port = |range| part(range).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    match family {
        0x11 => {
            let address: [u8; 4] = part(0..4)?.try_into().map_err(|_| malformed())?;
            Ok((IpAddr::from(Ipv4Addr::from(address)), port(8..10)?).into())
        }
        0x21 => {
            let address: [u8; 16] = part(0..16)?.try_into().map_err(|_| malformed())?;
            Ok((IpAddr::from(Ipv6Addr::from(address)), port(32..34)?).into())
        }
        _ => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY protocol header, version 2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    async fn read_all(bytes: &[u8]) -> Result<(Option<String>, usize), io::ErrorKind> {
        let mut stream = bytes;
        let address = read(&mut stream).await.map_err(|e| e.kind())?;
        Ok((address.map(|a| a.to_string()), stream.len()))
    }

    #[tokio::test]
    async fn the_header_is_read_without_a_byte_of_the_stream() {
        let v4 = header(0x21, 0x11, &[192, 0, 2, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
        let v6 = header(
            0x21,
            0x21,
            &[[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[9], &[0; 16], &[1, 2, 0, 80, 4, 0, 0]].concat(),
        );
        assert_eq!(read_all(&[v4.as_slice(), b"GET"].concat()).await, Ok((Some("192.0.2.9:4711".to_owned()), 3)));
        assert_eq!(read_all(&v6).await, Ok((Some("[2001:db8::9]:258".to_owned()), 0)));
        assert_eq!(read_all(&header(0x20, 0, &[])).await, Ok((None, 0)));
    }

    #[tokio::test]
    async fn an_invalid_header_is_refused() {
        let good = header(0x21, 0x11, &[1; 12]);
        for cut in 0..good.len() {
            assert_eq!(read_all(&good[..cut]).await, Err(io::ErrorKind::UnexpectedEof), "{cut}");
        }
        let bad = [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 80\r\n".to_vec(),
            header(0x11, 0x11, &[1; 12]),
            header(0x22, 0x11, &[1; 12]),
            header(0x21, 0x31, &[1; 216]),
            header(0x21, 0x11, &[1; 9]),
            header(0x21, 0x11, &[1; 2_049]),
        ];
        for bytes in bad {
            assert_eq!(read_all(&bytes).await, Err(io::ErrorKind::InvalidData), "{bytes:?}");
        }
    }
}
