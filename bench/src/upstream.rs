//! An HTTP server that answers every request at once with a prepared response: Stytch's part, or that of
//! a receiver of traces.
//!
//! It is made to cost little, since it shares a core with the load: it reads no more of a request
//! than where it ends.

use std::{cell::Cell, io, rc::Rc};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::spawn_local,
};

/// How many requests were answered.
pub type Answered = Rc<Cell<u64>>;

/// What is answered to a POST to the only path that there is.
#[derive(Clone, Copy)]
pub struct Answer {
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static [u8],
}

/// Answers every request on `listener`. Runs until it is dropped.
pub async fn serve(listener: TcpListener, with: Answer, answered: Answered) -> io::Result<()> {
    let Answer { path, content_type, body } = with;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         date: Thu, 01 Jan 2026 12:00:00 GMT\r\n\r\n",
        body.len()
    );
    let response: Bytes = [head.as_bytes(), body].concat().into();
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let (response, answered) = (response.clone(), answered.clone());
        spawn_local(async move {
            // A connection that breaks shows as a failed call of the load.
            let _ = answer(connection, path, &response, &answered).await;
        });
    }
}

async fn answer(
    mut connection: TcpStream,
    path: &str,
    response: &[u8],
    answered: &Cell<u64>,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    while connection.read_buf(&mut buffer).await? > 0 {
        while let Some(len) = request_len(&buffer, path)? {
            if buffer.len() < len {
                break;
            }
            buffer.advance(len);
            connection.write_all(response).await?;
            answered.set(answered.get() + 1);
        }
        buffer.reserve(8 * 1024);
    }
    Ok(())
}

/// Returns the length of the request at the start of `buffer`, once its head is there.
fn request_len(buffer: &[u8], path: &str) -> io::Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") else { return Ok(None) };
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(&buffer[..end + 4]).map_err(io::Error::other)?;
    if (request.method, request.path) != (Some("POST"), Some(path)) {
        return Err(io::Error::other("another request than the one that is measured"));
    }
    let length = request.headers.iter().find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|it| std::str::from_utf8(it.value).ok()?.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("no content-length"))?;
    Ok(Some(end + 4 + length))
}
