//! The body of a request, in pieces of any size: a unary call is served only if its body is exactly
//! one message, which is decoded the same whatever the pieces, and a body that stalls within a
//! message ends.
#![no_main]

#[path = "../../src/server/arrival.rs"]
mod arrival;
#[path = "../src/cuts.rs"]
mod cuts;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use tokio::{
    runtime::Runtime,
    time::{Instant, timeout},
};
use tonic::{Code, Status, Streaming, body::Body, codec::Codec as _};
use totp_facade::{
    proto::stytch::b2b::totp::v1::{CreateRequest, CreateResponse},
    service::{Codec, MAX_REQUEST},
    status,
};

/// Time passes at once.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
});

/// The time limit of a message.
const LIMIT: Duration = Duration::from_secs(10);

/// A body of these pieces, which ends or stalls after them.
struct Pieces {
    pieces: VecDeque<Bytes>,
    stalls: bool,
}

impl Pieces {
    fn body(pieces: &[&[u8]], stalls: bool) -> Body {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        Body::new(Self { pieces, stalls })
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match (self.pieces.pop_front(), self.stalls) {
            (None, true) => Poll::Pending,
            (piece, _) => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }
}

/// Reads a body to its end. Returns the pieces that pass, and the error after them.
async fn pass(mut body: Body) -> (Vec<Bytes>, Option<Status>) {
    let mut pieces = Vec::new();
    loop {
        match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            Some(Ok(frame)) => pieces.push(frame.into_data().expect("data")),
            Some(Err(status)) => return (pieces, Some(status)),
            None => return (pieces, None),
        }
    }
}

/// Reads the message of a unary call as tonic's server does. `None` if the call fails.
async fn call(body: Body) -> Option<CreateRequest> {
    let decoder = Codec::<CreateResponse, CreateRequest>::default().decoder();
    let body = arrival::single_message(body);
    let mut messages = Streaming::new_request(decoder, body, None, Some(MAX_REQUEST));
    let message = messages.message().await.ok()??;
    messages.trailers().await.ok()?;
    Some(message)
}

/// Returns the first message of a body with its prefix, and what follows; `None` if the message is
/// incomplete.
fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().expect("four bytes"));
    bytes.split_at_checked(5 + usize::try_from(length).ok()?)
}

fn decode(bytes: &[u8]) -> Option<CreateRequest> {
    let (message, []) = split_message(bytes)? else { return None };
    let (prefix, message) = message.split_at(5);
    let may_be_read = prefix[0] == 0 && message.len() <= MAX_REQUEST;
    may_be_read.then(|| CreateRequest::decode(message).ok()).flatten()
}

async fn check_unary(bytes: &[u8], pieces: &[&[u8]]) {
    assert_eq!(call(Pieces::body(pieces, false)).await, decode(bytes));

    let most = split_message(bytes).map_or(bytes.len(), |(message, _)| message.len());
    let (passed, error) = pass(arrival::single_message(Pieces::body(pieces, false))).await;
    let mut end = 0;
    let fit = pieces.iter().take_while(|it| {
        end += it.len();
        end <= most
    });
    assert_eq!(passed, fit.copied().collect::<Vec<_>>());
    assert_eq!(error.is_some(), bytes.len() > most);

    let start = Instant::now();
    let (_, error) = pass(arrival::single_message(Pieces::body(pieces, true))).await;
    let is_late = error.expect("it fails").code() == Code::DeadlineExceeded;
    assert_eq!((is_late, is_late), (bytes.len() <= most, start.elapsed() >= LIMIT));
}

async fn check_stream(bytes: &[u8], pieces: &[&[u8]]) {
    let (passed, error) = pass(arrival::messages(Pieces::body(pieces, false))).await;
    assert_eq!(passed, pieces);
    assert!(error.is_none());

    let mut rest = bytes;
    while let Some((_, next)) = split_message(rest) {
        rest = next;
    }
    let body = arrival::messages(Pieces::body(pieces, true));
    let ended = timeout(LIMIT + Duration::from_millis(1), pass(body)).await;
    assert_eq!(ended.is_ok(), !rest.is_empty(), "it ends within a message");
}

fuzz_target!(|input: &[u8]| {
    let Some((sizes, bytes)) = cuts::split(input) else { return };
    let pieces = cuts::cut(&sizes, bytes);
    RUNTIME.block_on(async {
        check_unary(bytes, &pieces).await;
        check_stream(bytes, &pieces).await;
    });
});
