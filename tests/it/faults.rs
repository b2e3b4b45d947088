//! The response to a caller when Stytch, or the network path to it, fails. Each test has a peer
//! that fails in one way, calls every RPC, and checks the code, what is known about the call, how
//! long it took, and that a call that changes something was never sent twice.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Closed, Deaf, Setup, info, listener,
    peer::{Connection, Peer, answer, json},
    pushback,
    rpc::Rpc,
};

/// The upstream timeout of these tests.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How often a retryable request is sent.
const READS: usize = 1 + totp_facade::stytch::RETRIES;

/// Whether the failure may be transient, so that a read is retried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    MayPass,
    Stays,
}
use Failure::{MayPass, Stays};

/// The outcome of a call of one RPC.
struct Outcome {
    rpc: Rpc,
    status: Status,
    elapsed: Duration,
    connections: usize,
    requests: usize,
}

impl Outcome {
    /// Asserts that the call failed with this code, reason and knowledge, after it reached the peer
    /// this often. The arguments describe a call that changes something. A read is retried if the
    /// failure may be transient, and fails with UNAVAILABLE if the outcome would be unknown.
    #[track_caller]
    fn is(&self, code: Code, reason: &str, upstream: &str, requests: usize, failure: Failure) {
        let name = self.rpc.name;
        let is_retried = self.rpc.reads && failure == MayPass;
        let code = match code {
            Code::Unknown if self.rpc.reads => Code::Unavailable,
            code => code,
        };
        let times = if is_retried { READS } else { 1 };
        let info = info(&self.status);
        assert_eq!(self.status.code(), code, "{name}: {:?}", self.status);
        assert_eq!(info.reason, reason, "{name}");
        assert_eq!(info.domain, "totp-facade", "{name}");
        assert_eq!(info.upstream, upstream, "{name}");
        assert_eq!(self.requests, requests * times, "requests of {name}");
        assert!(self.connections <= times, "{} connections of {name}", self.connections);
        match code {
            Code::Unavailable => {
                let wait: u64 = pushback(&self.status).expect("a pushback").parse().unwrap();
                assert!((500..=600).contains(&wait), "{name}: {wait} ms");
            }
            _ if upstream == "unknown" => {
                assert_eq!(pushback(&self.status), Some("-1"), "{name} must not be retried");
            }
            _ => {}
        }
    }

    /// Asserts that the call failed at once, long before any timeout.
    #[track_caller]
    fn at_once(&self) {
        assert!(self.elapsed < TIMEOUT, "{} took {:?}", self.rpc.name, self.elapsed);
    }

    /// Asserts that the call failed when the timeout elapsed, and not much later.
    #[track_caller]
    fn at_the_timeout(&self) {
        let bounds = TIMEOUT..TIMEOUT * 5;
        assert!(bounds.contains(&self.elapsed), "{} took {:?}", self.rpc.name, self.elapsed);
    }
}

/// Calls each RPC, each against its own peer that runs `script` on each connection.
async fn with_peer<F>(script: impl Fn(Connection) -> F + Clone + Send + 'static) -> Vec<Outcome>
where
    F: Future<Output = ()> + Send + 'static,
{
    join_all(Rpc::ALL.map(|rpc| {
        let script = script.clone();
        async move { call(rpc, Peer::start(script).await).await }
    }))
    .await
}

/// Calls each RPC, each against its own peer that responds with `answer`.
async fn with_answer(answer: impl AsRef<str>) -> Vec<Outcome> {
    let answer = answer.as_ref();
    join_all(Rpc::ALL.map(|rpc| async move { call(rpc, Peer::answering(answer).await).await }))
        .await
}

async fn call(rpc: Rpc, peer: Peer) -> Outcome {
    let setup = Setup::new(peer.addr).timeout(TIMEOUT);
    let (status, elapsed) = failure(rpc, setup).await;
    Outcome { rpc, status, elapsed, connections: peer.connections(), requests: peer.pending() }
}

/// Returns the failure of a call, and how long the call took.
async fn failure(rpc: Rpc, setup: Setup) -> (Status, Duration) {
    let facade = setup.start().await;
    let channel = facade.channel().await;
    let start = Instant::now();

    let status = rpc.try_for(channel, "fresh").await.expect_err("a failure");

    (status, start.elapsed())
}

#[tokio::test]
async fn refused_is_unavailable_and_safe_to_retry() {
    let closed = Closed::new();

    for rpc in Rpc::ALL {
        let (status, elapsed) = failure(rpc, Setup::new(closed.addr).timeout(TIMEOUT)).await;

        let outcome = Outcome { rpc, status, elapsed, connections: 0, requests: 0 };
        outcome.is(Code::Unavailable, "UPSTREAM_UNREACHABLE", "not_sent", 0, MayPass);
        outcome.at_once();
    }
}

#[tokio::test]
async fn closed_before_reading_is_an_unknown_outcome() {
    let outcomes = with_peer(|connection| async move {
        connection.readable().await;
        drop(connection);
    })
    .await;

    for outcome in outcomes {
        outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 0, MayPass);
        outcome.at_once();
    }
}

#[tokio::test]
async fn closed_after_reading_is_an_unknown_outcome() {
    let outcomes = with_peer(|mut connection| async move {
        connection.request().await;
    })
    .await;

    for outcome in outcomes {
        outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 1, MayPass);
        outcome.at_once();
    }
}

#[tokio::test]
async fn reset_in_the_headers_is_an_unknown_outcome() {
    let outcomes = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-").await;
        connection.reset();
    })
    .await;

    for outcome in outcomes {
        outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 1, MayPass);
        outcome.at_once();
    }
}

#[tokio::test]
async fn a_truncated_body_is_an_unreadable_response() {
    let outcomes = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"secret\":").await;
    })
    .await;

    for outcome in outcomes {
        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, MayPass);
        outcome.at_once();
    }
}

#[tokio::test]
async fn silence_is_a_deadline_exceeded_at_the_upstream_timeout() {
    let outcomes = with_peer(|mut connection| async move {
        connection.request().await;
        connection.hold().await;
    })
    .await;

    for outcome in outcomes {
        outcome.is(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "unknown", 1, Stays);
        outcome.at_the_timeout();
    }
}

#[tokio::test]
async fn a_response_that_drips_is_cut_off_at_the_upstream_timeout() {
    let outcomes = with_peer(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        // Each byte comes well within any idle timeout, so only a total timeout ends this.
        let mut drip = tokio::time::interval(TIMEOUT / 10);
        for _ in 0..100 {
            drip.tick().await;
            connection.send(" ").await;
        }
    })
    .await;

    for outcome in outcomes {
        outcome.is(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "unknown", 1, Stays);
        outcome.at_the_timeout();
    }
}

#[tokio::test]
async fn a_success_that_is_not_json_is_an_unreadable_response() {
    for body in ["", "OK", "[]", "null", "{\"secret\": \"S\""] {
        let outcomes = with_answer(json(200, body)).await;

        for outcome in outcomes {
            outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, Stays);
            outcome.at_once();
        }
    }
}

#[tokio::test]
async fn a_success_without_its_essential_field_is_unreadable() {
    for without in [json!(null), json!(""), json!(7), json!([])] {
        for rpc in Rpc::ALL {
            let mut answer: Value = serde_json::from_str(rpc.answer).unwrap();
            for part in answer.as_object_mut().unwrap().values_mut() {
                *part = without.clone();
            }
            let outcome = call(rpc, Peer::answering(json(200, &answer.to_string())).await).await;

            outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, Stays);
            outcome.at_once();
        }
    }
}

#[tokio::test]
async fn html_with_200_is_an_unreadable_response() {
    let page = answer(200, "content-type: text/html\r\n", "<html>sign in</html>");
    let outcomes = with_answer(page).await;

    for outcome in outcomes {
        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, Stays);
        outcome.at_once();
    }
}

#[tokio::test]
async fn html_with_502_is_an_unknown_outcome() {
    let page = answer(502, "content-type: text/html\r\n", "<html>502 Bad Gateway</html>");
    let outcomes = with_answer(page).await;

    for outcome in outcomes {
        outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 1, MayPass);
        assert_eq!(info(&outcome.status).http_status.as_deref(), Some("502"));
        outcome.at_once();
    }
}

#[tokio::test]
async fn html_with_404_is_our_wrong_base_url_and_not_a_missing_member() {
    let page = answer(404, "content-type: text/html\r\n", "<html>Not Found</html>");
    let outcomes = with_answer(page).await;

    for outcome in outcomes {
        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, Stays);
        assert!(outcome.status.message().contains("base URL"), "{}", outcome.status.message());
        outcome.at_once();
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Peer::answering(json(200, "{}")).await;
        let location = format!("location: http://{}/v1/b2b/totp\r\n", elsewhere.addr);

        for outcome in with_answer(answer(status, &location, "")).await {
            outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, Stays);
            outcome.at_once();
        }
        assert_eq!(elsewhere.connections(), 0, "followed a {status}");
    }
}

#[tokio::test]
async fn an_oversize_response_is_not_read_to_its_end() {
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

    for outcome in announced.into_iter().chain(streamed) {
        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, Stays);
        outcome.at_once();
    }
}

#[tokio::test]
async fn an_unrequested_gzip_response_is_unreadable() {
    let head = "content-encoding: gzip\r\ncontent-type: application/json\r\n";
    for rpc in Rpc::ALL {
        let mut peer = Peer::answering(answer(200, head, "\x1f\u{8b}\x08 not plain")).await;

        let (status, elapsed) = failure(rpc, Setup::new(peer.addr).timeout(TIMEOUT)).await;

        let (connections, requests) = (peer.connections(), peer.pending());
        let outcome = Outcome { rpc, status, elapsed, connections, requests };
        outcome.is(Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown", 1, Stays);
        outcome.at_once();
        assert_eq!(peer.request().await.header("accept-encoding"), None, "it was not asked for");
    }
}

/// One thread, so that the client sees the close before it sees the second call.
#[tokio::test(flavor = "current_thread")]
async fn a_stale_pooled_connection_is_replaced_and_the_request_sent_once() {
    for rpc in Rpc::ALL {
        let peer = Peer::start(move |mut connection| async move {
            connection.request().await;
            // The headers keep it alive, but the peer closes it.
            connection.send(json(200, rpc.answer)).await;
        })
        .await;
        let facade = Setup::new(peer.addr).timeout(TIMEOUT).start().await;
        let channel = facade.channel().await;
        rpc.try_for(channel.clone(), "fresh").await.expect("the first call");
        HealthClient::new(channel.clone())
            .check(HealthCheckRequest::default())
            .await
            .expect("a round trip");
        let start = Instant::now();

        let second = rpc.try_for(channel, "fresh").await;

        second.expect("the second call, on a connection of its own");
        assert!(start.elapsed() < TIMEOUT, "{} took {:?}", rpc.name, start.elapsed());
        assert_eq!((peer.connections(), peer.pending()), (2, 2), "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_pooled_connection_reset_after_the_request_was_sent_is_an_unknown_outcome() {
    for rpc in Rpc::ALL {
        let peer = Peer::start(move |mut connection| async move {
            connection.request().await;
            // Only the first connection responds.
            if connection.number == 1 {
                connection.send(json(200, rpc.answer)).await;
                connection.request().await;
            }
            connection.reset();
        })
        .await;
        let facade = Setup::new(peer.addr).timeout(TIMEOUT).start().await;
        let channel = facade.channel().await;
        rpc.try_for(channel.clone(), "fresh").await.expect("the first call");
        let start = Instant::now();

        let status = rpc.try_for(channel, "fresh").await.expect_err("a failure");

        let requests = peer.pending() - 1;
        let connections = peer.connections();
        let outcome = Outcome { rpc, status, elapsed: start.elapsed(), connections, requests };
        outcome.is(Code::Unknown, "OUTCOME_UNKNOWN", "unknown", 1, MayPass);
        outcome.at_once();
    }
}

#[tokio::test]
async fn a_read_that_fails_once_is_retried_and_succeeds() {
    for rpc in Rpc::ALL {
        let peer = Peer::start(move |mut connection| async move {
            connection.request().await;
            if connection.number > 1 {
                connection.send(json(200, rpc.answer)).await;
            }
        })
        .await;
        let facade = Setup::new(peer.addr).timeout(TIMEOUT).start().await;

        let answer = rpc.try_for(facade.channel().await, "fresh").await;

        let times = if rpc.reads { 2 } else { 1 };
        assert_eq!(answer.is_ok(), rpc.reads, "{}", rpc.name);
        assert_eq!((peer.connections(), peer.pending()), (times, times), "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_read_that_was_sent_once_is_not_called_unsent_when_the_next_attempt_cannot_connect() {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        stream.readable().await.unwrap();
    });

    let (status, _) = failure(Rpc::GET, Setup::new(addr).timeout(TIMEOUT)).await;

    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(info(&status).upstream, "unknown");
}

#[tokio::test]
async fn a_host_that_does_not_answer_the_connect_is_not_sent() {
    let deaf = Deaf::new().await;
    let outcomes = join_all(Rpc::ALL.map(|rpc| {
        let mut setup = Setup::new(deaf.addr);
        // Three attempts, because nothing was sent and time remains.
        setup.stytch.connect_timeout = TIMEOUT / 2;
        async move {
            let (status, elapsed) = failure(rpc, setup).await;
            Outcome { rpc, status, elapsed, connections: 0, requests: 0 }
        }
    }))
    .await;

    for outcome in outcomes {
        outcome.is(Code::Unavailable, "UPSTREAM_UNREACHABLE", "not_sent", 0, MayPass);
        outcome.at_the_timeout();
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_not_sent() {
    for rpc in Rpc::ALL {
        let peer = Peer::answering(json(200, rpc.answer)).await;
        let mut setup = Setup::new(peer.addr).timeout(TIMEOUT);
        setup.stytch.base_url = format!("https://{}", peer.addr).parse().unwrap();
        setup.stytch.connect_timeout = TIMEOUT / 2;

        let (status, _) = failure(rpc, setup).await;

        // A peer that waits for more of the request uses up the time.
        assert!(
            matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
            "{}: {status:?}",
            rpc.name
        );
        assert_eq!(info(&status).upstream, "not_sent", "{}", rpc.name);
        assert_eq!(peer.pending(), 0, "{}", rpc.name);
    }
}
