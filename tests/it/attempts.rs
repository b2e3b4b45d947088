//! Failures of calls that the client library has retried: they claim no more than is known about
//! all attempts.

use http::uri::PathAndQuery;
use serde_json::json;
use tonic::{Code, Request, Status, client::Grpc};
use tonic_prost::ProstCodec;
use totp_facade::proto::stytch::b2b::totp::v1::{CreateRequest, CreateResponse};

use crate::support::{
    Closed, Facade, Setup, info,
    peer::{self, Peer},
    pushback,
    redis::store,
    rpc::Rpc,
};

/// Returns the failure of a Create after this many earlier attempts, with or without a key.
async fn failure(facade: &Facade, member: &str, attempts: &str, key: Option<&str>) -> Status {
    failure_of(Rpc::CREATE, facade, member, attempts, key).await
}

/// Does the same for any RPC.
async fn failure_of(
    rpc: Rpc,
    facade: &Facade,
    member: &str,
    attempts: &str,
    key: Option<&str>,
) -> Status {
    let mut request = Request::new((rpc.request)(member));
    let metadata = request.metadata_mut();
    if !attempts.is_empty() {
        metadata.insert("grpc-previous-rpc-attempts", attempts.parse().unwrap());
    }
    if let Some(key) = key {
        metadata.insert("idempotency-key", key.parse().unwrap());
    }
    (rpc.call)(facade.channel().await, request).await.expect_err("a failure")
}

#[tokio::test]
async fn not_sent_is_not_reported_after_earlier_attempts_by_the_library() {
    let closed = Closed::new();
    let facade = Facade::in_front_of(closed.addr).await;
    for (attempts, upstream) in [
        ("", "not_sent"),
        ("0", "not_sent"),
        ("some", "not_sent"),
        ("1", "unknown"),
        ("3", "unknown"),
    ] {
        let status = failure(&facade, "fresh", attempts, None).await;

        assert_eq!(info(&status).upstream, upstream, "{attempts} attempts before");
        // A retry is as safe as before; but an earlier attempt may have taken effect.
        assert_eq!(status.code(), Code::Unavailable);
        assert!(["UPSTREAM_UNREACHABLE", "CIRCUIT_OPEN"].contains(&&*info(&status).reason));
        assert!(pushback(&status).is_some());
    }
}

#[tokio::test]
async fn a_refusal_describes_one_attempt_only() {
    let error = json!({"error_type": "active_totp_exists", "request_id": "request-1"}).to_string();
    let peer = Peer::answering(peer::json(400, &error)).await;
    let facade = Facade::in_front_of(peer.addr).await;

    let first = failure(&facade, "fresh", "", None).await;
    let second = failure(&facade, "fresh", "1", None).await;

    assert_eq!(info(&first).upstream, "rejected");
    // The TOTP that exists may be the one that the first attempt created.
    assert_eq!(info(&second).upstream, "unknown");
    assert_eq!(info(&second).reason, info(&first).reason);
    assert_eq!(info(&second).error_type, info(&first).error_type);
    assert_eq!(second.code(), first.code());
    assert_eq!(second.message(), first.message());
    assert_eq!(
        second.metadata().get("stytch-request-id"),
        first.metadata().get("stytch-request-id")
    );
}

#[tokio::test]
async fn with_a_key_upstream_is_known_for_all_attempts() {
    let closed = Closed::new();
    let facade = Facade::in_front_of(closed.addr).await;
    let status = failure(&facade, "fresh", "2", Some("key")).await;
    assert_eq!(info(&status).upstream, "not_sent", "the key was free");

    let error = json!({"error_type": "member_not_found"}).to_string();
    let peer = Peer::answering(peer::json(404, &error)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    for attempts in ["1", "2"] {
        let status = failure(&facade, "fresh", attempts, Some("key")).await;
        assert_eq!(info(&status).upstream, "rejected", "fresh or replayed");
    }
    let status = failure(&facade, "other", "1", Some("key")).await;
    assert_eq!(info(&status).reason, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(info(&status).upstream, "not_sent");
    assert_eq!(peer.pending(), 1);
}

#[tokio::test]
async fn a_key_that_is_not_looked_up_says_nothing_of_all_attempts() {
    let closed = Closed::new();
    let error = json!({"error_type": "member_not_found"}).to_string();
    let peer = Peer::answering(peer::json(404, &error)).await;
    for (upstream, said) in [(closed.addr, "not_sent"), (peer.addr, "rejected")] {
        let facade = Facade::in_front_of(upstream).await;

        let first = failure_of(Rpc::GET, &facade, "fresh", "", Some("key")).await;
        let second = failure_of(Rpc::GET, &facade, "fresh", "1", Some("key")).await;

        assert_eq!(info(&first).upstream, said);
        assert_eq!(info(&second).upstream, "unknown");
        assert_eq!(second.code(), first.code());
    }
}

#[tokio::test]
async fn a_call_refused_before_its_key_was_looked_up_may_have_been_sent_before() {
    let closed = Closed::new();
    let mut setup = Setup::new(closed.addr);
    setup.idempotency.store = store(&format!("redis://{}", closed.addr));
    let facade = setup.start().await;

    for (attempts, upstream) in [("", "not_sent"), ("1", "unknown")] {
        let status = failure(&facade, "fresh", attempts, Some("key")).await;
        assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");
        assert_eq!(info(&status).upstream, upstream, "{attempts}");
    }
}

#[tokio::test]
async fn an_invalid_request_is_invalid_at_every_attempt() {
    let closed = Closed::new();
    let facade = Facade::in_front_of(closed.addr).await;

    let status = failure(&facade, "", "1", None).await;

    assert_eq!(info(&status).reason, "INVALID_REQUEST");
    assert_eq!(info(&status).upstream, "not_sent");
}

#[tokio::test]
async fn a_message_that_never_arrives_is_unknown_after_earlier_attempts() {
    let facade = Facade::in_front_of(Closed::new().addr).await;
    let mut client = Grpc::new(facade.channel().await);
    client.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::pending::<CreateRequest>());
    request.metadata_mut().insert("grpc-previous-rpc-attempts", "1".parse().unwrap());
    let path = PathAndQuery::from_static("/stytch.b2b.totp.v1.TotpService/Create");
    let codec = ProstCodec::<CreateRequest, CreateResponse>::default();

    let result = client.client_streaming(request, path, codec).await;

    let status = result.expect_err("no message");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(info(&status).upstream, "unknown");
}
