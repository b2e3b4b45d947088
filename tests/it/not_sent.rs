//! A caller that gets *not sent* may retry its call, so nothing of the first may be delivered
//! afterwards. In these tests the deadline passes just before, while, and just after the request is
//! sent.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tonic::{Response, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::support::{
    PATIENCE, Setup,
    http2::{Connection, Http2Peer, Request},
    peer::{Peer, answer},
    rpc::Rpc,
};

/// How a call is made.
#[derive(Clone, Copy, Debug)]
struct Kind {
    rpc: Rpc,
    keyed: bool,
}

const KINDS: [Kind; 4] = [
    Kind { rpc: Rpc::CREATE, keyed: false },
    Kind { rpc: Rpc::CREATE, keyed: true },
    Kind { rpc: Rpc::DELETE, keyed: false },
    Kind { rpc: Rpc::GET, keyed: false },
];

type Call = JoinHandle<Result<Response<Value>, Status>>;

impl Kind {
    /// Makes the call, for a member of its own.
    fn call(self, channel: &Channel, member: &str, limit: Option<Duration>) -> Call {
        let mut request = match self.keyed {
            true => self.rpc.keyed_request(member, member),
            false => tonic::Request::new((self.rpc.request)(member)),
        };
        if let Some(limit) = limit {
            request.set_timeout(limit);
        }
        tokio::spawn((self.rpc.call)(channel.clone(), request))
    }
}

/// Returns whether the caller got *not sent*. A caller whose own timer fired first
/// got nothing.
fn is_not_sent(told: &Result<Response<Value>, Status>) -> bool {
    let Err(status) = told else { return false };
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.metadata["upstream"] == "not_sent")
}

/// A response that suits every call of these tests.
const ANSWER: &str = r#"{"secret": "S", "member_id": "S"}"#;

/// A peer that permits one stream, and a call that occupies it.
struct Scene {
    peer: Connection,
    channel: Channel,
    name: String,
    held: Call,
    stream: u32,
}

impl Scene {
    /// Occupies the only stream.
    async fn hold(mut peer: Connection, channel: &Channel, name: String) -> Self {
        let (holder, channel) = (Kind { rpc: Rpc::CREATE, keyed: false }, channel.clone());
        let held = holder.call(&channel, &format!("{name}-holder"), None);
        let stream = next(&mut peer).await.stream;
        Self { peer, channel, name, held, stream }
    }

    /// Makes two calls that must wait for a stream, one behind the other, and frees the stream at
    /// `opens`, if given. Returns how many callers got *not sent*, how many
    /// requests were delivered, and the connection.
    async fn two_calls(
        mut self,
        kind: Kind,
        limit: Option<Duration>,
        opens: Option<Instant>,
    ) -> (usize, usize, Connection) {
        let calls = ["first", "second"].map(|which| {
            let member = format!("{}-{which}", self.name);
            kind.call(&self.channel, &member, limit)
        });
        if let Some(opens) = opens {
            sleep_until(opens).await;
            self.peer.answer(self.stream, ANSWER).await;
        }
        let mut delivered = 0;
        let mut told = Box::pin(join_all(calls));
        let told = loop {
            tokio::select! {
                told = &mut told => break told,
                request = next(&mut self.peer) => {
                    delivered += 1;
                    self.peer.answer(request.stream, ANSWER).await;
                }
            }
        };
        let _ = self.held.await.unwrap();
        // A late request goes out before the next call.
        let marker = format!("{}-marker", self.name);
        let last = Kind { rpc: Rpc::CREATE, keyed: false }.call(&self.channel, &marker, None);
        loop {
            let request = next(&mut self.peer).await;
            self.peer.answer(request.stream, ANSWER).await;
            if request.body.contains(&marker) {
                break;
            }
            delivered += 1;
        }
        last.await.unwrap().expect("the connection is as good as before");
        let told = told.into_iter().filter(|told| is_not_sent(told.as_ref().unwrap())).count();
        (told, delivered, self.peer)
    }
}

async fn next(peer: &mut Connection) -> Request {
    timeout(PATIENCE, peer.request()).await.expect("in time").expect("a request")
}

/// Establishes the connection that all calls use, by a call that has enough time.
async fn connected(peer: &Http2Peer, channel: &Channel) -> Connection {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut call = Kind { rpc: Rpc::CREATE, keyed: false }.call(channel, "first", None);
        let mut connection = tokio::select! {
            connection = peer.accept(1) => connection,
            _ = &mut call => continue,
        };
        let Some(request) = connection.request().await else { continue };
        connection.answer(request.stream, ANSWER).await;
        if call.await.unwrap().is_ok() {
            return connection;
        }
    }
    panic!("no connection");
}

/// The caller's deadline passes around the moment at which the peer permits the next stream.
async fn around_the_deadline(kind: Kind) {
    // How much the façade is ahead of the caller, and the peer ahead of the façade.
    const LIMIT: Duration = Duration::from_millis(60);
    const TIME_LEFT: Duration = Duration::from_millis(54);
    const FIRST: Duration = Duration::from_millis(4);
    const TRIES: u32 = 40;
    const STEP: Duration = Duration::from_micros(200);
    let peer = Http2Peer::new().await;
    let facade = peer.setup().start().await;
    let channel = facade.channel().await;
    let mut connection = connected(&peer, &channel).await;

    let mut unsent = 0;
    for number in 0..TRIES {
        let scene = Scene::hold(connection, &channel, format!("try-{number}")).await;
        let opens = Instant::now() + TIME_LEFT - FIRST + STEP * number;

        let (told, delivered, same) = scene.two_calls(kind, Some(LIMIT), Some(opens)).await;

        assert!(told + delivered <= 2, "{kind:?}: {told} reported not sent, {delivered} delivered");
        unsent += told;
        connection = same;
    }
    // A connection that holds a request without a body cannot be stopped, and a call with an
    // idempotency key outlives its caller.
    let can_be_given_up = kind.rpc.schemas.0.is_some() && !kind.keyed;
    assert!(unsent > 0 || !can_be_given_up, "{kind:?}: none was in time to be given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_a_stream_is_delivered_or_reported_unsent_never_both() {
    join_all(KINDS.map(around_the_deadline)).await;
}

/// The façade's own timeout elapses: for the call that occupies the only stream, which frees the
/// stream, and at that moment for the waiting calls.
async fn around_the_timeout(kind: Kind) {
    // More failures would open the breaker.
    const TRIES: u32 = 8;
    const TIMEOUT: Duration = Duration::from_millis(300);
    let peer = Http2Peer::new().await;
    let facade = peer.setup().timeout(TIMEOUT).start().await;
    let channel = facade.channel().await;
    let mut connection = connected(&peer, &channel).await;

    for number in 0..TRIES {
        let scene = Scene::hold(connection, &channel, format!("try-{number}")).await;

        let (told, delivered, same) = scene.two_calls(kind, None, None).await;

        assert!(told + delivered <= 2, "{kind:?}: {told} reported not sent, {delivered} delivered");
        connection = same;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_the_upstream_timeout_is_delivered_or_reported_unsent_never_both()
{
    join_all(KINDS.map(around_the_timeout)).await;
}

/// Over HTTP/1 each call connects, and its deadline passes around the moment at which the request
/// is written.
async fn around_the_connect(kind: Kind) {
    const TRIES: usize = 100;
    let mut peer = Peer::start(|mut connection| async move {
        if connection.request().await {
            connection.send(answer(200, "connection: close\r\n", ANSWER)).await;
        }
    })
    .await;
    let facade = Setup::new(peer.addr).start().await;
    let channel = facade.channel().await;

    let mut unsent = Vec::new();
    for number in 0..TRIES {
        // One to three milliseconds remain of these deadlines.
        let limit = Duration::from_micros(3000 + 20 * number as u64);
        let member = format!("try-{number}.");
        let call = kind.call(&channel, &member, Some(limit));
        if is_not_sent(&call.await.unwrap()) {
            unsent.push(member);
        }
    }

    // A late request goes out before the drain ends.
    timeout(PATIENCE, facade.stop()).await.unwrap().unwrap().expect("a clean drain");
    while peer.pending() > 0 {
        let request = peer.request().await;
        let is_its = |member: &&String| {
            request.body.contains(member.as_str()) || request.line().contains(member.as_str())
        };
        assert_eq!(unsent.iter().find(is_its), None, "{kind:?}: reported not sent, and delivered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http1_a_request_is_delivered_or_reported_unsent_never_both() {
    join_all(KINDS.map(around_the_connect)).await;
}
