//! What a caller is told when Stytch, or the way to it, fails. Each test has a peer that fails in one
//! way, and checks the code, what is known about the call, how long it took, and that the request was
//! never sent twice.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use tonic::{Code, Status};

use crate::support::{
    Deaf, Setup, create, info, listener,
    peer::{Connection, Peer, answer, json},
    pushback,
};

/// The upstream timeout of these tests.
const TIMEOUT: Duration = Duration::from_millis(500);

struct Outcome {
    status: Status,
    elapsed: Duration,
    connections: usize,
    requests: usize,
}

impl Outcome {
    /// The call failed with this code, reason and knowledge, having reached the peer this often.
    #[track_caller]
    fn is(&self, code: Code, reason: &str, upstream: &str, requests: RangeInclusive<usize>) {
        let info = info(&self.status);
        assert_eq!(self.status.code(), code, "{:?}", self.status);
        assert_eq!(info.reason, reason);
        assert_eq!(info.domain, "totp-facade");
        assert_eq!(info.upstream, upstream);
        assert!(requests.contains(&self.requests), "{} requests", self.requests);
        assert!(self.connections <= 1, "{} connections", self.connections);
        if upstream == "unknown" {
            assert_eq!(pushback(&self.status), Some("-1"), "it must not be retried");
        }
    }

    /// It failed at once, long before any timeout.
    #[track_caller]
    fn at_once(&self) {
        assert!(self.elapsed < TIMEOUT, "took {:?}", self.elapsed);
    }

    /// It failed when the timeout ran out, and not much later.
    #[track_caller]
    fn at_the_timeout(&self) {
        let bounds = TIMEOUT..TIMEOUT * 5;
        assert!(bounds.contains(&self.elapsed), "took {:?}", self.elapsed);
    }
}

/// One Create in front of a peer that runs `script` on each connection.
async fn with_peer<F>(script: impl Fn(Connection) -> F + Send + 'static) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    call(Peer::start(script).await).await
}

async fn call(peer: Peer) -> Outcome {
    let facade = Setup::new(peer.addr).timeout(TIMEOUT).start().await;
    let mut client = facade.client().await;
    let start = Instant::now();

    let status = client.create(create("fresh")).await.expect_err("a failure");

    Outcome {
        status,
        elapsed: start.elapsed(),
        connections: peer.connections(),
        requests: peer.pending(),
    }
}

#[tokio::test]
async fn refused_is_unavailable_and_safe_to_repeat() {
    let closed = listener().await.local_addr().unwrap();
    let facade = Setup::new(closed).timeout(TIMEOUT).start().await;
    let mut client = facade.client().await;
    let start = Instant::now();

    let status = client.create(create("fresh")).await.expect_err("a failure");

    let outcome = Outcome { status, elapsed: start.elapsed(), connections: 0, requests: 0 };
    outcome.is(Code::Unavailable, "UPSTREAM_UNREACHABLE", "not_sent", 0..=0);
    outcome.at_once();
    let wait: u64 = pushback(&outcome.status).expect("a pushback").parse().unwrap();
    assert!((500..=600).contains(&wait), "{wait} ms");
}

#[tokio::test]
async fn closed_before_reading_is_an_unknown_outcome() {
    let outcome = with_peer(|connection| async move {
        connection.readable().await;
        drop(connection);
    })
    .await;

    outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 0..=0);
    outcome.at_once();
}

#[tokio::test]
async fn closed_after_reading_is_an_unknown_outcome() {
    let outcome = with_peer(|mut connection| async move {
        connection.request().await;
    })
    .await;

    outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 1..=1);
    outcome.at_once();
}

#[tokio::test]
async fn reset_in_the_headers_is_an_unknown_outcome() {
    let outcome = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-").await;
        connection.reset();
    })
    .await;

    outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 1..=1);
    outcome.at_once();
}

#[tokio::test]
async fn a_body_cut_short_is_an_unreadable_answer() {
    let outcome = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"secret\":").await;
    })
    .await;

    outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
    outcome.at_once();
}

#[tokio::test]
async fn silence_is_a_deadline_exceeded_at_the_upstream_timeout() {
    let outcome = with_peer(|mut connection| async move {
        connection.request().await;
        connection.hold().await;
    })
    .await;

    outcome.is(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "unknown", 1..=1);
    outcome.at_the_timeout();
}

#[tokio::test]
async fn an_answer_that_drips_is_cut_off_at_the_upstream_timeout() {
    let outcome = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        // Each byte comes well within any idle timeout; only a total one ends this.
        let mut drip = tokio::time::interval(TIMEOUT / 10);
        for _ in 0..100 {
            drip.tick().await;
            connection.send(" ").await;
        }
    })
    .await;

    outcome.is(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "unknown", 1..=1);
    outcome.at_the_timeout();
}

#[tokio::test]
async fn a_success_that_is_not_json_is_an_unreadable_answer() {
    for body in ["", "OK", "[]", "null", "{\"secret\": \"S\""] {
        let outcome = call(Peer::answering(json(200, body)).await).await;

        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
        outcome.at_once();
    }
}

#[tokio::test]
async fn a_success_without_its_secret_is_an_unreadable_answer() {
    for body in ["{}", r#"{"secret": null}"#, r#"{"secret": ""}"#, r#"{"secret": 7}"#] {
        let outcome = call(Peer::answering(json(200, body)).await).await;

        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
        outcome.at_once();
    }
}

#[tokio::test]
async fn html_with_200_is_an_unreadable_answer() {
    let page = answer(200, "content-type: text/html\r\n", "<html>sign in</html>");
    let outcome = call(Peer::answering(page).await).await;

    outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
    outcome.at_once();
}

#[tokio::test]
async fn html_with_502_is_an_unknown_outcome() {
    let page = answer(502, "content-type: text/html\r\n", "<html>502 Bad Gateway</html>");
    let outcome = call(Peer::answering(page).await).await;

    outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 1..=1);
    assert_eq!(info(&outcome.status).http_status.as_deref(), Some("502"));
    outcome.at_once();
}

#[tokio::test]
async fn html_with_404_is_our_wrong_base_url_and_not_a_missing_member() {
    let page = answer(404, "content-type: text/html\r\n", "<html>Not Found</html>");
    let outcome = call(Peer::answering(page).await).await;

    outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
    assert!(outcome.status.message().contains("base URL"), "{}", outcome.status.message());
    outcome.at_once();
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Peer::answering(json(200, "{}")).await;
        let location = format!("location: http://{}/v1/b2b/totp\r\n", elsewhere.addr);
        let outcome = call(Peer::answering(answer(status, &location, "")).await).await;

        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
        assert_eq!(elsewhere.connections(), 0, "followed a {status}");
        outcome.at_once();
    }
}

#[tokio::test]
async fn an_oversize_answer_is_not_read_to_its_end() {
    let announced = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{").await;
        connection.hold().await;
    })
    .await;
    let streamed = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        for _ in 0..64 {
            connection.send(&chunk).await;
        }
        connection.hold().await;
    })
    .await;

    for outcome in [announced, streamed] {
        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
        outcome.at_once();
    }
}

#[tokio::test]
async fn a_gzip_answer_that_was_not_asked_for_is_an_unreadable_answer() {
    let head = "content-encoding: gzip\r\ncontent-type: application/json\r\n";
    let mut peer = Peer::answering(answer(200, head, "\x1f\u{8b}\x08 not plain")).await;
    let facade = Setup::new(peer.addr).timeout(TIMEOUT).start().await;
    let start = Instant::now();

    let status = facade.client().await.create(create("fresh")).await.expect_err("a failure");

    let (elapsed, connections) = (start.elapsed(), peer.connections());
    let outcome = Outcome { status, elapsed, connections, requests: peer.pending() };
    outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1..=1);
    outcome.at_once();
    assert_eq!(peer.request().await.header("accept-encoding"), None, "it was not asked for");
}

/// One thread, so that the client sees the close before it sees the second call.
#[tokio::test(flavor = "current_thread")]
async fn a_stale_pooled_connection_is_replaced_and_the_request_sent_once() {
    let peer = Peer::start(|mut connection| async move {
        connection.request().await;
        // Kept alive by its headers, and closed all the same.
        connection.send(json(200, r#"{"secret": "S"}"#)).await;
    })
    .await;
    let facade = Setup::new(peer.addr).timeout(TIMEOUT).start().await;
    let mut client = facade.client().await;
    client.create(create("fresh")).await.expect("the first call");
    let mut health = tonic_health::pb::health_client::HealthClient::new(facade.channel().await);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("a round trip");
    let start = Instant::now();

    let second = client.create(create("fresh")).await;

    second.expect("the second call, on a connection of its own");
    assert!(start.elapsed() < TIMEOUT, "took {:?}", start.elapsed());
    assert_eq!((peer.connections(), peer.pending()), (2, 2));
}

#[tokio::test]
async fn a_pooled_connection_reset_after_the_request_was_sent_is_an_unknown_outcome() {
    let peer = Peer::start(|mut connection| async move {
        connection.request().await;
        connection.send(json(200, r#"{"secret": "S"}"#)).await;
        connection.request().await;
        connection.reset();
    })
    .await;
    let facade = Setup::new(peer.addr).timeout(TIMEOUT).start().await;
    let mut client = facade.client().await;
    client.create(create("fresh")).await.expect("the first call");
    let start = Instant::now();

    let status = client.create(create("fresh")).await.expect_err("a failure");

    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(info(&status).upstream, "unknown");
    assert_eq!(pushback(&status), Some("-1"));
    assert!(start.elapsed() < TIMEOUT, "took {:?}", start.elapsed());
    assert_eq!((peer.connections(), peer.pending()), (1, 2), "each request once");
}

#[tokio::test]
async fn a_host_that_does_not_answer_the_connect_is_not_sent() {
    let deaf = Deaf::new().await;
    let mut setup = Setup::new(deaf.addr);
    setup.stytch.connect_timeout = TIMEOUT;
    let facade = setup.start().await;
    let mut client = facade.client().await;
    let start = Instant::now();

    let status = client.create(create("fresh")).await.expect_err("a failure");

    let outcome = Outcome { status, elapsed: start.elapsed(), connections: 0, requests: 0 };
    outcome.is(Code::Unavailable, "UPSTREAM_UNREACHABLE", "not_sent", 0..=0);
    outcome.at_the_timeout();
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_not_sent() {
    let peer = Peer::answering(json(200, r#"{"secret": "S"}"#)).await;
    let mut setup = Setup::new(peer.addr);
    setup.stytch.base_url = format!("https://{}", peer.addr).parse().unwrap();
    setup.stytch.timeout = TIMEOUT;
    setup.stytch.connect_timeout = TIMEOUT / 2;
    let facade = setup.start().await;

    let status = facade.client().await.create(create("fresh")).await.expect_err("a failure");

    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(info(&status).upstream, "not_sent");
    assert_eq!(peer.pending(), 0);
}
