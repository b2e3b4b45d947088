//! The same key gives the same answer, and Stytch is asked once: with records in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, metadata::MetadataValue};
use tonic_types::StatusExt as _;

use crate::support::{
    Closed, Facade, PATIENCE, Setup, info, is_replayed,
    peer::{self, Peer},
    pushback, request_id,
    rpc::Rpc,
    sandbox,
};

/// Answers each request with another request id.
async fn counting(rpc: Rpc) -> Peer {
    let count = Arc::new(AtomicUsize::new(0));
    Peer::start(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            while connection.request().await {
                let mut answer: Value = serde_json::from_str(rpc.answer).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                answer["request_id"] = json!(format!("request-{number}"));
                connection.send(peer::json(200, &answer.to_string())).await;
            }
        }
    })
    .await
}

#[track_caller]
fn same(first: &Response<Value>, again: &Response<Value>, name: &str) {
    assert_eq!(again.get_ref(), first.get_ref(), "{name}");
    assert_eq!(request_id(again.metadata()), request_id(first.metadata()), "{name}");
    assert!(!is_replayed(first.metadata()) && is_replayed(again.metadata()), "{name}");
}

/// Asserts that the second failure is a replay of the first.
#[track_caller]
fn same_failure(first: &Status, again: &Status, name: &str) {
    assert_eq!(again.code(), first.code(), "{name}");
    assert_eq!(again.message(), first.message(), "{name}");
    assert_eq!(again.details(), first.details(), "{name}");
    assert_eq!(pushback(again), pushback(first), "{name}");
    assert_eq!(request_id(again.metadata()), request_id(first.metadata()), "{name}");
    assert!(!is_replayed(first.metadata()) && is_replayed(again.metadata()), "{name}");
}

#[tokio::test]
async fn the_same_key_gets_the_same_response_and_stytch_is_called_once() {
    for rpc in Rpc::mutating() {
        let peer = counting(rpc).await;
        let facade = Facade::in_front_of(peer.addr).await;

        let first = rpc.keyed(facade.channel().await, "fresh", "key").await.expect("an answer");
        for _ in 0..3 {
            // Over another connection, as from another client.
            let again = rpc.keyed(facade.channel().await, "fresh", "key").await.expect("the same");
            same(&first, &again, rpc.name);
        }
        let other = rpc.keyed(facade.channel().await, "fresh", "other").await.expect("an answer");

        assert_ne!(other.get_ref(), first.get_ref(), "another key is another call");
        assert_eq!(peer.pending(), 2, "{}", rpc.name);
    }
}

#[tokio::test]
async fn without_a_key_each_call_is_made() {
    let peer = counting(Rpc::CREATE).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;

    let answers = [(); 2].map(|()| Rpc::CREATE.try_for(channel.clone(), "fresh"));

    for answer in join_all(answers).await {
        assert!(!is_replayed(answer.expect("an answer").metadata()));
    }
    assert_eq!(peer.pending(), 2);
}

#[tokio::test]
async fn a_read_ignores_the_key() {
    let peer = counting(Rpc::GET).await;
    let facade = Facade::in_front_of(peer.addr).await;

    for key in ["key", "key", "not a key"] {
        let answer = Rpc::GET.keyed(facade.channel().await, "fresh", key).await.expect("an answer");
        assert!(!is_replayed(answer.metadata()));
    }

    assert_eq!(peer.pending(), 3);
}

#[tokio::test]
async fn calls_with_the_key_of_one_in_flight_wait_for_it() {
    let (mut peer, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;
    let calls: Vec<_> =
        (0..20).map(|_| tokio::spawn(Rpc::CREATE.keyed(channel.clone(), "fresh", "key"))).collect();
    peer.request().await;
    // They have all come in once the one that is refused for its key has.
    let other = Rpc::CREATE.keyed(channel, "enrolled", "key").await.expect_err("a reused key");
    assert_eq!(info(&other).reason, "IDEMPOTENCY_KEY_REUSED");

    answer.notify_one();

    let mut fresh = 0;
    for call in calls {
        let answer = timeout(PATIENCE, call).await.unwrap().unwrap().expect("the one answer");
        assert_eq!(answer.get_ref()["secret"], "S");
        fresh += usize::from(!is_replayed(answer.metadata()));
    }
    assert_eq!(fresh, 1, "one call was made, the others got its response");
    assert_eq!(peer.pending(), 0, "sent once");
}

#[tokio::test]
async fn a_definite_refusal_is_replayed() {
    for (status, error_type, code) in [
        (400, "active_totp_exists", Code::AlreadyExists),
        (404, "member_not_found", Code::NotFound),
        (400, "totp_code_already_authenticated", Code::InvalidArgument),
        (403, "session_authorization_error", Code::PermissionDenied),
        (429, "user_lock_limit_reached", Code::ResourceExhausted),
    ] {
        let error = json!({"error_type": error_type, "request_id": "request-1"}).to_string();
        for rpc in Rpc::mutating() {
            let peer = Peer::answering(peer::json(status, &error)).await;
            let facade = Facade::in_front_of(peer.addr).await;
            let channel = facade.channel().await;

            let first = rpc.keyed(channel.clone(), "fresh", "key").await.expect_err("a refusal");
            let again = rpc.keyed(channel, "fresh", "key").await.expect_err("the same");

            assert_eq!(first.code(), code, "{}", rpc.name);
            same_failure(&first, &again, rpc.name);
            assert_eq!(peer.pending(), 1, "{}", rpc.name);
        }
    }
}

#[tokio::test]
async fn a_refusal_that_passes_or_is_this_services_fault_is_not_remembered() {
    for (status, error_type) in [
        (429, "too_many_requests"),
        (409, "conflict"),
        (401, "unauthorized_credentials"),
        (404, "route_not_found"),
    ] {
        let error = json!({"error_type": error_type}).to_string();
        let peer = Peer::answering(peer::json(status, &error)).await;
        let facade = Facade::in_front_of(peer.addr).await;
        let channel = facade.channel().await;

        for requests in 1..=2 {
            let refusal = Rpc::CREATE.keyed(channel.clone(), "fresh", "key").await;

            assert!(!is_replayed(refusal.expect_err("a refusal").metadata()), "{error_type}");
            assert_eq!(peer.pending(), requests, "{error_type}");
        }
    }
}

#[tokio::test]
async fn an_unsent_call_is_not_remembered() {
    for rpc in Rpc::mutating() {
        let closed = Closed::new();
        let facade = Facade::in_front_of(closed.addr).await;
        let channel = facade.channel().await;
        let status = rpc.keyed(channel.clone(), "fresh", "key").await.expect_err("it is closed");
        assert_eq!(info(&status).upstream, "not_sent", "{}", rpc.name);

        let peer = Peer::on(closed.open(), move |mut connection| async move {
            connection.request().await;
            connection.send(peer::json(200, rpc.answer)).await;
            connection.hold().await;
        });
        let answer = rpc.keyed(channel, "fresh", "key").await.expect("a clean execution");

        assert!(!is_replayed(answer.metadata()), "{}", rpc.name);
        assert_eq!(peer.pending(), 1, "{}", rpc.name);
    }
}

#[tokio::test]
async fn an_unknown_outcome_stays_unknown_and_stytch_is_not_called_again() {
    for rpc in Rpc::mutating() {
        let peer = Peer::start(|mut connection| async move {
            connection.request().await;
        })
        .await;
        let facade = Facade::in_front_of(peer.addr).await;
        let channel = facade.channel().await;

        let first = rpc.keyed(channel.clone(), "fresh", "key").await.expect_err("it broke");
        let again = rpc.keyed(channel, "fresh", "key").await.expect_err("the same");

        assert_eq!(first.code(), Code::Unknown, "{}", rpc.name);
        assert_eq!(pushback(&again), Some("-1"), "{}", rpc.name);
        same_failure(&first, &again, rpc.name);
        assert_eq!(peer.pending(), 1, "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_key_used_for_another_request_is_refused_unsent() {
    let peer = counting(Rpc::CREATE).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;
    Rpc::CREATE.keyed(channel.clone(), "fresh", "key").await.expect("an answer");

    let status = Rpc::CREATE.keyed(channel.clone(), "other", "key").await.expect_err("reused");

    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(info(&status).reason, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(info(&status).upstream, "not_sent");
    let details = status.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "idempotency-key");
    assert!(!is_replayed(status.metadata()));
    assert_eq!(peer.pending(), 1);
    let again = Rpc::CREATE.keyed(channel, "fresh", "key").await.expect("the first is untouched");
    assert!(is_replayed(again.metadata()));
}

#[tokio::test]
async fn a_key_belongs_to_one_method() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let channel = facade.channel().await;

    let rotated = Rpc::ROTATE.keyed(channel.clone(), "enrolled", "key").await.expect("new codes");
    let deleted = Rpc::DELETE.keyed(channel.clone(), "enrolled", "key").await.expect("a deletion");

    for answer in [rotated, deleted] {
        assert!(!is_replayed(answer.metadata()));
    }
}

#[tokio::test]
async fn a_malformed_key_is_refused_unsent_with_whatever_else_is_wrong() {
    let peer = counting(Rpc::CREATE).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;
    let long = "k".repeat(256);
    for (key, reason) in [
        (b"".as_slice(), "empty"),
        (b"two words", "a blank"),
        (b"tab\tbed", "a tab"),
        ("sch\u{fc}ssel".as_bytes(), "not ASCII"),
        (long.as_bytes(), "256 characters"),
    ] {
        for rpc in Rpc::mutating() {
            let mut request = Request::new((rpc.request)(""));
            let value = MetadataValue::try_from(key).unwrap();
            request.metadata_mut().insert("idempotency-key", value);

            let status = (rpc.call)(channel.clone(), request).await.expect_err(reason);

            let details = status.get_error_details();
            let violations = &details.bad_request().expect(reason).field_violations;
            let fields: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
            assert_eq!(status.code(), Code::InvalidArgument, "{reason}");
            assert!(fields.contains(&"idempotency-key"), "{reason}: {fields:?}");
            assert!(fields.contains(&"member_id"), "{reason}: {fields:?}");
        }
    }
    let mut twice = Rpc::CREATE.keyed_request("fresh", "one");
    twice.metadata_mut().append("idempotency-key", "two".parse().unwrap());
    (Rpc::CREATE.call)(channel.clone(), twice).await.expect_err("two keys");
    assert_eq!(peer.pending(), 0);

    let longest = "k".repeat(255);
    for key in ["!", "~", &longest, "7f2c9a34-61b0-4a57-9a0e-3e1f6d1f0b11"] {
        Rpc::CREATE.keyed(channel.clone(), "fresh", key).await.expect("a good key");
    }
}

#[tokio::test]
async fn the_response_to_a_call_whose_caller_disconnected_waits_for_its_retry() {
    for rpc in Rpc::mutating() {
        let (mut peer, answer) = Peer::patient(peer::json(200, rpc.answer)).await;
        let facade = Facade::in_front_of(peer.addr).await;
        let channel = facade.channel().await;
        let call = tokio::spawn(rpc.keyed(channel, "fresh", "key"));
        peer.request().await;
        call.abort();
        let _ = call.await;

        answer.notify_one();
        let answer = rpc.keyed(facade.channel().await, "fresh", "key").await.expect("its answer");

        assert!(is_replayed(answer.metadata()), "{}", rpc.name);
        assert_eq!(peer.pending(), 0, "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_call_outlives_its_deadline_and_the_retry_gets_its_response() {
    let (mut peer, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;
    let mut request = Rpc::CREATE.keyed_request("fresh", "key");
    request.metadata_mut().insert("grpc-timeout", "1S".parse().unwrap());

    let status = (Rpc::CREATE.call)(channel.clone(), request).await.expect_err("too late");

    // On a busy machine, the client's own timer may come first.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    peer.request().await;
    answer.notify_one();
    let answer = Rpc::CREATE.keyed(channel, "fresh", "key").await.expect("its answer");
    assert!(is_replayed(answer.metadata()));
    assert_eq!(peer.pending(), 0);
}

#[tokio::test]
async fn the_drain_waits_for_a_call_with_a_key_whose_caller_went_away() {
    let (mut peer, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let call = tokio::spawn(Rpc::CREATE.keyed(facade.channel().await, "fresh", "key"));
    peer.request().await;
    call.abort();
    let _ = call.await;

    let mut drained = facade.stop();

    assert!(timeout(Duration::from_millis(50), &mut drained).await.is_err(), "it waits");
    answer.notify_one();
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
}

#[tokio::test]
async fn a_record_is_kept_for_its_time_and_then_forgotten() {
    let peer = counting(Rpc::CREATE).await;
    let mut setup = Setup::new(peer.addr);
    setup.idempotency.ttl = Duration::from_millis(300);
    let facade = setup.start().await;
    let channel = facade.channel().await;
    let start = std::time::Instant::now();
    let first = Rpc::CREATE.keyed(channel.clone(), "fresh", "key").await.expect("an answer");

    // Asking does not prolong it.
    while peer.pending() == 1 {
        let again = Rpc::CREATE.keyed(channel.clone(), "fresh", "key").await.expect("an answer");
        assert!(start.elapsed() < PATIENCE, "it is never forgotten");
        assert_eq!(is_replayed(again.metadata()), again.get_ref() == first.get_ref());
    }

    assert!(start.elapsed() >= Duration::from_millis(300), "after {:?}", start.elapsed());
}
