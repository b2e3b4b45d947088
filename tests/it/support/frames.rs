//! HTTP/2 written by hand, for what no client library would send.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use super::PATIENCE;

/// A frame as it was read.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The next frame. None at the end of the connection.
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

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PING, ACK, 0, payload)
}

/// What a connection begins with: the preface and empty settings.
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

/// A field whose name is number `name` of HPACK's static table.
fn indexed(name: u8, value: &str) -> Vec<u8> {
    // Without indexing; what is above 14 takes a second byte.
    let mut field = if name < 15 { vec![name] } else { vec![15, name - 15] };
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

/// The headers of a gRPC call, as HPACK.
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

/// Opens a stream for a call whose message does not come.
pub fn headers(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call(method))
}

/// The same from gRPC's C core, whose targets of several addresses make an authority that is none.
pub fn malformed_headers(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call_of("127.0.0.1:1%2C127.0.0.1:2", method))
}

/// The message of a call, and with it the end of the request.
pub fn message(stream: u32, message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0];
    payload.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    payload.extend(message);
    frame(DATA, END_STREAM, stream, &payload)
}

/// Opens one whose headers have no end.
pub fn unfinished_headers(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, 0, stream, &call(method))
}

/// 16 KiB more of them: sixteen fields that a server has to keep.
pub fn more_headers(stream: u32) -> Vec<u8> {
    let value = [b'v'; 1015];
    let mut block = Vec::new();
    for _ in 0..16 {
        // A literal name of one byte, and a length of two bytes above 127.
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
