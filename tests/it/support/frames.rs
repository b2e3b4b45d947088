//! HTTP/2 frames encoded by hand, for what no client library would send.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use super::PATIENCE;

/// A received frame.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Reads the next frame. Returns `None` when the connection is closed.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let reading = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(id), payload })
    };
    timeout(PATIENCE, reading).await.expect("a frame, or the end of the connection")
}

/// Encodes the response to a ping.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PING, ACK, 0, payload)
}

/// Encodes the start of a connection: the preface and empty settings.
pub fn start() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// Flags.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes a field whose name has the index `name` in HPACK's static table.
fn indexed(name: u8, value: &str) -> Vec<u8> {
    // A literal without indexing. An index above 14 takes a second byte.
    let mut field = if name < 15 { vec![name] } else { vec![15, name - 15] };
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

/// Encodes the headers of a gRPC call with HPACK.
fn call(method: &str) -> Vec<u8> {
    call_of("localhost", method)
}

fn call_of(authority: &str, method: &str) -> Vec<u8> {
    const POST: u8 = 0x83;
    const HTTP: u8 = 0x86;
    let mut block = vec![POST, HTTP];
    block.extend(indexed(4, &format!("/{method}")));
    block.extend(indexed(1, authority));
    block.extend(indexed(31, "application/grpc"));
    block
}

/// Opens a stream for a call, without its message.
pub fn headers(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call(method))
}

/// Opens a stream with the shortest headers. They are not those of a gRPC call.
pub fn short_headers(stream: u32) -> Vec<u8> {
    const GET: u8 = 0x82;
    const ROOT: u8 = 0x84;
    const HTTP: u8 = 0x86;
    frame(HEADERS, END_HEADERS, stream, &[GET, ROOT, HTTP])
}

/// The same as [`headers`] with the invalid authority that gRPC's C core makes of a target with
/// several addresses.
pub fn malformed_headers(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call_of("127.0.0.1:1%2C127.0.0.1:2", method))
}

/// Encodes the message of a call, which ends the request.
pub fn message(stream: u32, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0];
    payload.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    payload.extend(message);
    frame(DATA, END_STREAM, stream, &payload)
}

/// Opens a stream whose headers are not complete.
pub fn unfinished_headers(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, 0, stream, &call(method))
}

/// Encodes 16 KiB more of those headers: sixteen fields that a server must keep.
pub fn more_headers(stream: u32) -> Vec<u8> {
    let value = [b'v'; 1015];
    let mut block = Vec::new();
    for _ in 0..16 {
        // A literal name of one byte. A length above 127 takes two more bytes.
        block.extend([0, 1, b'x', 127]);
        let rest = value.len() - 127;
        block.extend([u8::try_from(rest % 128).unwrap() | 128, u8::try_from(rest / 128).unwrap()]);
        block.extend(value);
    }
    frame(CONTINUATION, 0, stream, &block)
}

/// Resets a stream.
pub fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}
