//! HTTP/2 frame by frame, for clients that no library offers: one that never reads, and one that sends tiny frames.

use tokio::{io::AsyncReadExt as _, net::TcpStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// The last frame of a request (DATA, HEADERS), or the reply to a PING.
pub(crate) const END: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface and the settings of a client that gives each response a flow-control window of that many bytes.
pub(crate) fn hello(window: u32) -> Vec<u8> {
    let window = [&[0, INITIAL_WINDOW_SIZE][..], &window.to_be_bytes()].concat();
    let connection = (1_u32 << 30).to_be_bytes();
    let frames = [frame(SETTINGS, 0, 0, &window), frame(WINDOW_UPDATE, 0, 0, &connection)];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
}

/// The head of a gRPC request whose body follows.
pub(crate) fn head(stream: u32, path: &str) -> Vec<u8> {
    // Literals without indexing and without a Huffman code (RFC 7541, section 6.2.2).
    let literal = |name: &[u8], value: &str| {
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 127).expect("a short value");
        [name, &[length], value.as_bytes()].concat()
    };
    // The static table: POST, http; and the names :path, :authority and content-type.
    let fields = [
        vec![0x83, 0x86],
        literal(&[0x04], path),
        literal(&[0x01], "localhost"),
        literal(&[0x0f, 0x10], "application/grpc"),
        literal(b"\0\x02te", "trailers"),
    ];
    frame(HEADERS, END_HEADERS, stream, &fields.concat())
}

/// Reads one frame. Returns its type and flags.
pub(crate) async fn read(from: &mut TcpStream) -> (u8, u8) {
    let mut head = [0; 9];
    from.read_exact(&mut head).await.expect("the connection stays open");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    from.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.expect("the connection stays open");
    (head[3], head[4])
}
