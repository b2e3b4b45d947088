//! What reaches Stytch, and what is refused before anything does.

use serde_json::{Value, json};
use stytch::b2b::totps as sdk;
use tonic::Code;
use tonic_types::StatusExt as _;
use totp_facade::proto::stytch::b2b::totp::v1::CreateRequest;

use crate::support::{
    Facade, Setup, create, fixture, info,
    peer::{self, Peer},
};

const ANSWER: &str = r#"{"secret": "S"}"#;

fn full() -> CreateRequest {
    CreateRequest {
        organization_id: "Größe/ of \"works\" \u{1F511}".into(),
        member_id: "a member's external id".into(),
        expiration_minutes: Some(1440),
        intermediate_session_token: Some("intermediate=".into()),
        session_token: Some("session".into()),
        session_jwt: Some("header.claims.signature".into()),
    }
}

/// The request that a façade sends for `request`.
async fn sent(request: CreateRequest) -> peer::Request {
    let mut peer = Peer::answering(peer::json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    facade.client().await.create(request).await.expect("an answer");
    peer.request().await
}

/// The body that the official SDK sends for the same arguments, without the nulls by which it spells
/// what is absent.
async fn sent_by_the_sdk(request: CreateRequest) -> (peer::Request, Value) {
    let mut peer = Peer::answering(peer::json(200, ANSWER)).await;
    let client = crate::sandbox::sdk(peer.addr);
    // The answer does not satisfy the SDK; what it sent is what counts.
    let _ = client
        .totps
        .create(sdk::CreateRequest {
            organization_id: request.organization_id,
            member_id: request.member_id,
            expiration_minutes: request.expiration_minutes,
            intermediate_session_token: request.intermediate_session_token,
            session_token: request.session_token,
            session_jwt: request.session_jwt,
        })
        .await;
    let request = peer.request().await;
    let mut body = request.json();
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    (request, body)
}

#[tokio::test]
async fn the_body_sent_equals_the_official_sdks_for_the_same_arguments() {
    for request in [
        full(),
        create("fresh"),
        CreateRequest { expiration_minutes: Some(5), ..create("fresh") },
        CreateRequest { session_token: Some(String::new()), ..create("fresh") },
    ] {
        let ours = sent(request.clone()).await;
        let (theirs, body) = sent_by_the_sdk(request).await;

        assert_eq!(ours.json(), body);
        assert_eq!(ours.head.lines().next(), theirs.head.lines().next(), "method and path");
        assert_eq!(ours.header("authorization"), theirs.header("authorization"));
    }
}

#[tokio::test]
async fn the_example_request_is_sent_as_it_stands() {
    let text = fixture("totp-create.request.json");
    let request: CreateRequest = serde_json::from_str(&text).unwrap();

    let sent = sent(request).await;

    assert_eq!(sent.json(), serde_json::from_str::<Value>(&text).unwrap());
}

#[tokio::test]
async fn absent_fields_are_left_out_and_empty_ones_are_sent() {
    let sent = sent(CreateRequest { session_jwt: Some(String::new()), ..create("fresh") }).await;

    assert_eq!(
        sent.json(),
        json!({"organization_id": "example-works", "member_id": "fresh", "session_jwt": ""})
    );
}

#[tokio::test]
async fn the_headers_are_those_that_stytch_wants() {
    let sent = sent(create("fresh")).await;

    assert_eq!(sent.header("content-type"), Some("application/json"), "without a charset");
    assert!(sent.header("user-agent").unwrap().starts_with("totp-facade/"));
    assert!(sent.header("authorization").unwrap().starts_with("Basic "));
    assert_eq!(sent.header("transfer-encoding"), None, "the length is announced");
}

#[tokio::test]
async fn a_base_url_with_a_path_keeps_it() {
    let mut peer = Peer::answering(peer::json(200, ANSWER)).await;
    let mut setup = Setup::new(peer.addr);
    setup.stytch.base_url = format!("http://{}/by/way/of/", peer.addr).parse().unwrap();
    let facade = setup.start().await;

    facade.client().await.create(create("fresh")).await.expect("an answer");

    let line = peer.request().await.head.lines().next().unwrap().to_owned();
    assert_eq!(line, "POST /by/way/of/v1/b2b/totp HTTP/1.1");
}

#[tokio::test]
async fn an_invalid_request_is_refused_unsent_with_every_violation_at_once() {
    let peer = Peer::answering(peer::json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut client = facade.client().await;
    let id = "organization_id";

    for (request, fields, reason) in [
        (CreateRequest::default(), vec![id, "member_id"], "nothing given"),
        (create(""), vec!["member_id"], "an empty member"),
        (create("a\nb"), vec!["member_id"], "a line break"),
        (create("a\u{0}"), vec!["member_id"], "a zero byte"),
        (create("\u{85}"), vec!["member_id"], "a control character beyond ASCII"),
        (minutes(4), vec!["expiration_minutes"], "too few minutes"),
        (minutes(1441), vec!["expiration_minutes"], "too many minutes"),
        (minutes(0), vec!["expiration_minutes"], "zero is not absent"),
        (minutes(-5), vec!["expiration_minutes"], "negative minutes"),
        (
            CreateRequest {
                organization_id: String::new(),
                member_id: "\t".into(),
                expiration_minutes: Some(i32::MAX),
                intermediate_session_token: Some("\r".into()),
                session_token: Some("\n".into()),
                session_jwt: Some("\u{7f}".into()),
            },
            vec![
                id,
                "member_id",
                "expiration_minutes",
                "intermediate_session_token",
                "session_token",
                "session_jwt",
            ],
            "everything wrong",
        ),
    ] {
        let status = client.create(request).await.expect_err(reason);

        let details = status.get_error_details();
        let violations = &details.bad_request().expect("a BadRequest").field_violations;
        let named: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(status.code(), Code::InvalidArgument, "{reason}");
        assert_eq!(info(&status).reason, "INVALID_REQUEST", "{reason}");
        assert_eq!(info(&status).upstream, "not_sent", "{reason}");
        assert_eq!(named, fields, "{reason}");
        assert!(violations.iter().all(|it| !it.description.is_empty()), "{reason}");
    }
    assert_eq!(peer.connections(), 0, "nothing was sent");
}

#[tokio::test]
async fn whatever_stytch_may_accept_is_sent() {
    for request in [
        minutes(5),
        minutes(1440),
        create(" "),
        create("."),
        create(".."),
        create("../../organizations"),
        create("%2e?#&="),
        create("\u{202e}\u{1F469}\u{200d}\u{1F4BB}"),
        create(&"x".repeat(8 * 1024)),
    ] {
        let body = sent(request.clone()).await.json();

        assert_eq!(body, serde_json::to_value(&request).unwrap());
    }
}

fn minutes(minutes: i32) -> CreateRequest {
    CreateRequest { expiration_minutes: Some(minutes), ..create("fresh") }
}
