//! A request that Stytch declares unprocessed over HTTP/2 (RFC 9113, section 8.7) counts as not
//! sent, and the façade retries it. Everything else that ends a stream leaves the outcome unknown.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tonic::{Code, Response, Status};
use totp_facade::stytch::RETRIES;

use crate::support::{
    Facade,
    http2::{Connection, Http2Peer, Reason},
    info,
    rpc::Rpc,
};

/// What the peer does with its requests, one after the other; the last entry repeats.
#[derive(Clone, Copy, Debug)]
enum Then {
    Answer,
    Reset(Reason),
    /// GOAWAY, with this stream or the one below as the last processed one.
    GoAway {
        includes_this: bool,
    },
}

/// A façade, and how many requests its peer has answered and received.
struct Scene {
    facade: Facade,
    answers: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Scene {
    async fn of(rpc: Rpc, script: &'static [Then]) -> Self {
        let peer = Http2Peer::new().await;
        let facade = peer.setup().start().await;
        let (answers, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let scene = Self { facade, answers: Arc::clone(&answers), requests: Arc::clone(&requests) };
        peer.serve(move |connection| {
            let (answers, requests) = (Arc::clone(&answers), Arc::clone(&requests));
            run(connection, rpc, script, answers, requests)
        });
        scene
    }

    async fn call(&self, rpc: Rpc) -> Result<Response<serde_json::Value>, Status> {
        rpc.try_for(self.facade.channel().await, "fresh").await
    }

    fn counts(&self) -> (usize, usize) {
        (self.answers.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

async fn run(
    mut connection: Connection,
    rpc: Rpc,
    script: &'static [Then],
    answers: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
) {
    while let Some(request) = connection.request().await {
        let number = requests.fetch_add(1, Ordering::SeqCst);
        match script[number.min(script.len() - 1)] {
            Then::Answer => {
                answers.fetch_add(1, Ordering::SeqCst);
                connection.answer(request.stream, rpc.answer).await;
            }
            Then::Reset(reason) => connection.reset(request.stream, reason).await,
            Then::GoAway { includes_this: false } => {
                connection.go_away(request.stream - 1, Reason::NoError).await;
            }
            Then::GoAway { includes_this: true } => {
                connection.go_away(request.stream, Reason::NoError).await;
                return;
            }
        }
    }
}

const REFUSED: Then = Then::Reset(Reason::RefusedStream);
const GOES: Then = Then::GoAway { includes_this: false };

#[tokio::test]
async fn a_refused_stream_is_retried_and_executed_once() {
    for rpc in Rpc::ALL {
        let scene = Scene::of(rpc, &[REFUSED, Then::Answer]).await;

        scene.call(rpc).await.expect("the second attempt");

        assert_eq!(scene.counts(), (1, 2), "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_goaway_below_the_stream_is_retried_on_another_connection_and_executed_once() {
    for rpc in Rpc::ALL {
        let scene = Scene::of(rpc, &[GOES, Then::Answer]).await;

        scene.call(rpc).await.expect("the second attempt");

        assert_eq!(scene.counts(), (1, 2), "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_goaway_that_includes_the_stream_leaves_the_outcome_unknown() {
    for rpc in Rpc::ALL {
        let scene = Scene::of(rpc, &[Then::GoAway { includes_this: true }]).await;

        let status = scene.call(rpc).await.expect_err("no answer");

        let (code, requests) = match rpc.reads {
            true => (Code::Unavailable, 1 + RETRIES),
            false => (Code::Unknown, 1),
        };
        assert_eq!((status.code(), scene.counts()), (code, (0, requests)), "{}", rpc.name);
        assert_eq!(info(&status).upstream, "unknown", "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_for_another_reason_leaves_the_outcome_unknown() {
    for script in [
        &[Then::Reset(Reason::NoError)],
        &[Then::Reset(Reason::Internal)],
        &[Then::Reset(Reason::Cancel)],
        &[Then::Reset(Reason::EnhanceYourCalm)],
    ] {
        let scene = Scene::of(Rpc::CREATE, script).await;

        let status = scene.call(Rpc::CREATE).await.expect_err("no answer");

        assert_eq!((status.code(), scene.counts()), (Code::Unknown, (0, 1)), "{script:?}");
        assert_eq!(info(&status).upstream, "unknown", "{script:?}");
    }
}

#[tokio::test]
async fn streams_that_are_always_refused_are_not_sent_and_leave_the_breaker_closed() {
    for script in [&[REFUSED], &[GOES]] {
        for rpc in [Rpc::CREATE, Rpc::DELETE, Rpc::GET] {
            let scene = Scene::of(rpc, script).await;

            for calls in 1..=5 {
                let status = scene.call(rpc).await.expect_err("refused");

                assert_eq!(status.code(), Code::Unavailable, "{} {script:?}", rpc.name);
                assert_eq!(info(&status).reason, "UPSTREAM_UNREACHABLE", "{}", rpc.name);
                assert_eq!(info(&status).upstream, "not_sent", "{}", rpc.name);
                assert_eq!(scene.counts(), (0, calls * (1 + RETRIES)), "{}", rpc.name);
            }
        }
    }
}

#[tokio::test]
async fn a_read_that_was_sent_once_is_not_called_unsent_when_the_next_streams_are_refused() {
    let scene = Scene::of(Rpc::GET, &[Then::Reset(Reason::Internal), REFUSED]).await;

    let status = scene.call(Rpc::GET).await.expect_err("no answer");

    assert_eq!(info(&status).upstream, "unknown");
    assert_eq!(scene.counts(), (0, 1 + RETRIES));
}
