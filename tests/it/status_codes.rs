//! Maps each response of Stytch to its row of the table, over the wire.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use proptest::{collection::vec, prelude::*, sample::subsequence};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use totp_facade::{
    proto::stytch::b2b::totp::v1::{CreateRequest, totp_service_client::TotpServiceClient},
    status::MAX_TRAILERS,
};

use crate::support::{
    self, Facade, Setup, create, fixture, info,
    peer::{Peer, answer, json},
    pushback,
    rpc::Rpc,
};

/// A façade in front of a peer whose response can be changed.
struct Exchange {
    answer: Arc<Mutex<Vec<u8>>>,
    client: TotpServiceClient<Channel>,
    peer: Peer,
    _facade: Facade,
}

impl Exchange {
    async fn new() -> Self {
        let answer = Arc::new(Mutex::new(Vec::new()));
        let current = Arc::clone(&answer);
        let peer = Peer::start(move |mut connection| {
            let current = Arc::clone(&current);
            async move {
                while connection.request().await {
                    let answer = current.lock().unwrap().clone();
                    connection.send(answer).await;
                }
            }
        })
        .await;
        let facade = Facade::in_front_of(peer.addr).await;
        Self { answer, client: facade.client().await, peer, _facade: facade }
    }

    /// Returns the status of a Create to which Stytch responds with `http`.
    async fn status_for(&mut self, http: impl Into<Vec<u8>>, request: CreateRequest) -> Status {
        *self.answer.lock().unwrap() = http.into();
        let status = self.client.create(request).await.expect_err("a failure");
        self.peer.request().await;
        assert_eq!(self.peer.pending(), 0, "sent once");
        status
    }
}

fn error(http_status: u16, error_type: &str) -> String {
    let body = json!({"request_id": "request-id-test-1", "error_type": error_type});
    json(http_status, &body.to_string())
}

#[tokio::test]
async fn every_example_error_maps_to_its_row() {
    let mut exchange = Exchange::new().await;
    const NONE: Option<&str> = None;
    let never = Some("-1");
    for (file, code, reason, upstream, expected_pushback) in [
        (
            "error-400-active_totp_exists.json",
            Code::AlreadyExists,
            "ACTIVE_TOTP_EXISTS",
            "rejected",
            NONE,
        ),
        (
            "error-400-invalid_project_id_authentication.json",
            Code::Internal,
            "UPSTREAM_CREDENTIALS_REJECTED",
            "rejected",
            never,
        ),
        (
            "error-400-invalid_session_token.json",
            Code::InvalidArgument,
            "INVALID_SESSION_TOKEN",
            "rejected",
            NONE,
        ),
        ("error-400-oauth2-shape.json", Code::InvalidArgument, "INVALID_CLIENT", "rejected", NONE),
        (
            "error-400-with-error_details.json",
            Code::InvalidArgument,
            "INVALID_EMAIL_FOR_JIT_PROVISIONING",
            "rejected",
            NONE,
        ),
        (
            "error-401-unauthorized_credentials.json",
            Code::Internal,
            "UPSTREAM_CREDENTIALS_REJECTED",
            "rejected",
            never,
        ),
        (
            "error-403-session_authorization_error.json",
            Code::PermissionDenied,
            "SESSION_AUTHORIZATION_ERROR",
            "rejected",
            NONE,
        ),
        (
            "error-404-intermediate_session_not_found.json",
            Code::NotFound,
            "INTERMEDIATE_SESSION_NOT_FOUND",
            "rejected",
            NONE,
        ),
        ("error-404-session_not_found.json", Code::NotFound, "SESSION_NOT_FOUND", "rejected", NONE),
        (
            "error-429-too_many_requests.json",
            Code::ResourceExhausted,
            "TOO_MANY_REQUESTS",
            "rejected",
            NONE,
        ),
        (
            "error-429-user_lock_limit_reached.json",
            Code::ResourceExhausted,
            "USER_LOCK_LIMIT_REACHED",
            "rejected",
            never,
        ),
        (
            "error-499-client_closed_request.json",
            Code::Unknown,
            "OUTCOME_UNKNOWN",
            "unknown",
            never,
        ),
        (
            "error-500-internal_server_error.json",
            Code::Unknown,
            "OUTCOME_UNKNOWN",
            "unknown",
            never,
        ),
        ("error-502-cdn.html", Code::Unknown, "OUTCOME_UNKNOWN", "unknown", never),
        ("error-503-server_unavailable.json", Code::Unknown, "OUTCOME_UNKNOWN", "unknown", never),
    ] {
        let http_status: u16 = file["error-".len()..][..3].parse().unwrap();
        let body = fixture(file);

        let status = exchange.status_for(json(http_status, &body), create("fresh")).await;

        let info = info(&status);
        assert_eq!(status.code(), code, "{file}");
        assert_eq!(info.reason, reason, "{file}");
        assert_eq!(info.upstream, upstream, "{file}");
        assert_eq!(info.http_status, Some(http_status.to_string()), "{file}");
        assert_eq!(pushback(&status), expected_pushback, "{file}");
        let Ok(body) = serde_json::from_str::<serde_json::Value>(&body) else { continue };
        let details = status.get_error_details();
        let is_about_us = reason == "UPSTREAM_CREDENTIALS_REJECTED";
        let request_id = body["request_id"].as_str().unwrap();
        assert_eq!(support::request_id(status.metadata()), Some(request_id), "{file}");
        assert_eq!(details.request_info().unwrap().request_id, request_id, "{file}");
        if is_about_us {
            assert!(details.help().is_none(), "{file}: Stytch's text is for the operator");
            assert!(!status.message().contains(':'), "{file}: {}", status.message());
            continue;
        }
        let url = body.get("error_url").or(body.get("error_uri")).unwrap();
        assert_eq!(details.help().unwrap().links[0].url, *url, "{file}");
        let text = body.get("error_message").or(body.get("error_description")).unwrap();
        assert!(status.message().ends_with(text.as_str().unwrap()), "{file}: {}", status.message());
    }
}

#[tokio::test]
async fn an_error_type_decides_before_its_affix_and_its_affix_before_the_http_status() {
    let mut exchange = Exchange::new().await;
    for (http_status, error_type, code, reason) in [
        (400, "invalid_totp_code", Code::InvalidArgument, "known, whatever the status"),
        (401, "unable_to_authenticate_totp", Code::InvalidArgument, "known, whatever the status"),
        (404, "totp_code_already_authenticated", Code::InvalidArgument, "known"),
        (401, "invalid_secret_authentication", Code::Internal, "known, despite invalid_*"),
        (400, "invalid_b2b_endpoint", Code::Internal, "known, despite invalid_*"),
        (404, "route_not_found", Code::Internal, "known, despite *_not_found"),
        (403, "use_https", Code::Internal, "known"),
        (400, "pending_totp_exists", Code::AlreadyExists, "known"),
        (409, "recovery_codes_already_exist", Code::AlreadyExists, "known"),
        (400, "expired_totp", Code::FailedPrecondition, "known"),
        (403, "organization_suspended", Code::PermissionDenied, "known"),
        (400, "user_lock_limit_reached", Code::ResourceExhausted, "known, despite not 429"),
        (400, "server_unavailable", Code::Unknown, "Stytch gave up, whatever the status"),
        (400, "duplicate_member_email", Code::AlreadyExists, "prefix"),
        (400, "organization_slug_already_used", Code::AlreadyExists, "suffix"),
        (400, "member_not_found", Code::NotFound, "suffix"),
        (500, "member_not_found", Code::Unknown, "a server error is never definite"),
        (403, "invalid_anything_new", Code::InvalidArgument, "prefix"),
        (400, "some_name_too_long", Code::InvalidArgument, "suffix"),
        (403, "session_authorization_tenancy_error", Code::PermissionDenied, "prefix"),
        (400, "brand_new", Code::InvalidArgument, "status"),
        (422, "brand_new", Code::InvalidArgument, "status"),
        (401, "brand_new", Code::PermissionDenied, "status"),
        (403, "brand_new", Code::PermissionDenied, "status"),
        (404, "brand_new", Code::NotFound, "status"),
        (408, "brand_new", Code::DeadlineExceeded, "status"),
        (409, "brand_new", Code::Aborted, "status"),
        (418, "brand_new", Code::FailedPrecondition, "status"),
        (429, "brand_new", Code::ResourceExhausted, "status"),
        (499, "brand_new", Code::Unknown, "status"),
        (500, "brand_new", Code::Unknown, "status"),
        (599, "brand_new", Code::Unknown, "status"),
    ] {
        let status = exchange.status_for(error(http_status, error_type), create("fresh")).await;

        assert_eq!(status.code(), code, "{http_status} {error_type}: {reason}");
        assert_eq!(info(&status).error_type.as_deref(), Some(error_type));
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_stytchs_is_our_misconfiguration() {
    let mut exchange = Exchange::new().await;
    for http_status in [301, 400, 401, 402, 403, 404, 405, 409, 418, 451] {
        for body in ["", "<html></html>", "[]", "{}", r#"{"message": "no"}"#] {
            let status = exchange.status_for(json(http_status, body), create("fresh")).await;

            assert_eq!(status.code(), Code::Internal, "{http_status} {body}");
            assert_eq!(info(&status).reason, "UPSTREAM_ANSWER_UNREADABLE");
            assert_eq!(info(&status).upstream, "unknown");
            assert_eq!(pushback(&status), Some("-1"));
        }
    }
}

/// Bodies that something in front of Stytch may send.
const FOREIGN: [&str; 5] = ["", "<html></html>", "[]", "{}", r#"{"message": "no"}"#];

#[tokio::test]
async fn a_429_that_is_not_stytchs_passed_nothing_on_and_says_when_to_retry() {
    let mut exchange = Exchange::new().await;
    for body in FOREIGN {
        for (header, expected) in [("", None), ("retry-after: 3\r\n", Some(3_000..=3_600))] {
            let status = exchange.status_for(answer(429, header, body), create("fresh")).await;

            assert_eq!(status.code(), Code::ResourceExhausted, "{body}");
            let info = info(&status);
            assert_eq!((&*info.reason, &*info.upstream), ("UPSTREAM_RATE_LIMITED", "rejected"));
            assert_eq!((&*info.domain, info.http_status.as_deref()), ("totp-facade", Some("429")));
            let millis = pushback(&status).map(|millis| millis.parse::<u128>().unwrap());
            let delay =
                status.get_error_details().retry_info().map(|info| info.retry_delay.unwrap());
            assert_eq!(millis, delay.map(|delay| delay.as_millis()), "{body}");
            assert_eq!(millis.is_some(), expected.is_some(), "{body}");
            assert!(expected.is_none_or(|it| it.contains(&millis.unwrap())), "{millis:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_in_front_of_stytch_is_rejected_and_not_the_callers_fault() {
    let mut exchange = Exchange::new().await;
    for http_status in [407, 413, 414, 421, 425, 431, 511] {
        for body in FOREIGN {
            let status = exchange.status_for(json(http_status, body), create("fresh")).await;

            assert_eq!(status.code(), Code::Internal, "{http_status} {body}");
            let info = info(&status);
            assert_eq!(info.reason, "UPSTREAM_REQUEST_INTERCEPTED", "{http_status} {body}");
            assert_eq!(info.upstream, "rejected", "{http_status} {body}");
            assert_eq!(pushback(&status), Some("-1"), "{http_status} {body}");
        }
        // An error of Stytch itself is mapped by the table, as always.
        let status = exchange.status_for(error(http_status, "brand_new"), create("fresh")).await;
        let expected = if http_status == 511 { Code::Unknown } else { Code::FailedPrecondition };
        assert_eq!(status.code(), expected, "{http_status}");
    }
}

#[tokio::test]
async fn a_408_or_499_from_anyone_leaves_the_outcome_unknown() {
    let mut exchange = Exchange::new().await;
    for (http_status, code, reason) in [
        (408, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (499, Code::Unknown, "OUTCOME_UNKNOWN"),
    ] {
        for body in FOREIGN {
            let status = exchange.status_for(json(http_status, body), create("fresh")).await;

            assert_eq!(status.code(), code, "{http_status} {body}");
            let info = info(&status);
            assert_eq!((&*info.reason, &*info.upstream), (reason, "unknown"), "{http_status}");
            assert_eq!(pushback(&status), Some("-1"), "{http_status} {body}");
        }
    }
}

#[tokio::test]
async fn a_success_without_a_body_is_unknown_but_most_likely_took_effect() {
    for rpc in Rpc::ALL {
        for answer in [
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            answer(205, "", ""),
            answer(200, "content-type: application/json\r\n", ""),
        ] {
            let mut peer = Peer::answering(answer.clone()).await;
            let facade = Facade::in_front_of(peer.addr).await;

            let result = rpc.try_for(facade.channel().await, "fresh").await;

            let status = result.expect_err("there is no answer");
            let what = format!("{} {answer}", rpc.name);
            assert_eq!(status.code(), Code::Internal, "{what}");
            let info = info(&status);
            assert_eq!(info.reason, "UPSTREAM_ANSWER_UNREADABLE", "{what}");
            assert_eq!(info.upstream, "unknown", "{what}");
            assert_eq!(pushback(&status), Some("-1"), "{what}");
            assert!(status.message().ends_with("the call most likely took effect"), "{what}");
            peer.request().await;
            assert_eq!(peer.pending(), 0, "{what}: sent once");
        }
    }
}

#[tokio::test]
async fn retry_after_of_a_failure_is_honoured_for_what_only_reads_and_for_nothing_else() {
    for http_status in [502, 503] {
        for rpc in [Rpc::GET, Rpc::CREATE] {
            let peer = Peer::answering(answer(http_status, "retry-after: 30\r\n", "")).await;
            let facade = Facade::in_front_of(peer.addr).await;

            let status = rpc.try_for(facade.channel().await, "fresh").await.expect_err("a failure");

            assert_eq!(info(&status).upstream, "unknown");
            let millis: i64 = pushback(&status).unwrap().parse().unwrap();
            assert!(if rpc.reads { millis >= 30_000 } else { millis == -1 }, "{millis}");
        }
    }
}

#[tokio::test]
async fn a_refused_proof_is_named_as_the_field_that_the_request_has_it_in() {
    let tokens = ["intermediate_session_token", "session_token", "session_jwt"];
    for error_type in ["invalid_session_token", "too_many_session_arguments"] {
        for (rpc, given) in [
            (Rpc::AUTHENTICATE, &tokens[..1]),
            (Rpc::AUTHENTICATE, &tokens[1..]),
            (Rpc::RECOVER, &tokens[2..]),
            (Rpc::CREATE, &tokens[..2]),
            (Rpc::DELETE, &tokens[1..2]),
        ] {
            let peer = Peer::answering(error(400, error_type)).await;
            let facade = Facade::in_front_of(peer.addr).await;
            let mut request = (rpc.request)("fresh");
            request["session_token"] = json!(null);
            given.iter().for_each(|field| request[*field] = json!("a-token"));

            let result = rpc.with(facade.channel().await, request).await;

            let details = result.expect_err("a failure").get_error_details();
            let violations = &details.bad_request().expect("a BadRequest").field_violations;
            let named: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
            assert_eq!(named, given, "{} {error_type}", rpc.name);
        }
    }
}

#[tokio::test]
async fn details_say_in_a_form_for_programs_what_the_error_is_about() {
    let mut exchange = Exchange::new().await;
    let request = || create("member-7");

    let status = exchange.status_for(error(400, "invalid_totp_code"), request()).await;
    assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, "code");

    let status = exchange.status_for(error(404, "organization_not_found"), request()).await;
    let details = status.get_error_details();
    let resource = details.resource_info().unwrap();
    assert_eq!(
        (&*resource.resource_type, &*resource.resource_name),
        ("organization", "example-works")
    );

    let status = exchange.status_for(error(400, "active_totp_exists"), request()).await;
    let details = status.get_error_details();
    let resource = details.resource_info().unwrap();
    assert_eq!((&*resource.resource_type, &*resource.resource_name), ("totp", "member-7"));

    let status = exchange.status_for(error(400, "expired_totp"), request()).await;
    let details = status.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!((&*violation.r#type, &*violation.subject), ("EXPIRED_TOTP", "member:member-7"));

    let status = exchange.status_for(error(429, "too_many_requests"), request()).await;
    let details = status.get_error_details();
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, "member:member-7");
}

#[tokio::test]
async fn error_details_travel_as_a_struct() {
    let mut exchange = Exchange::new().await;
    let body = fixture("error-400-with-error_details.json");

    let status = exchange.status_for(json(400, &body), create("fresh")).await;

    let details: tonic_types::Status = prost::Message::decode(status.details()).unwrap();
    let any = details
        .details
        .iter()
        .find(|any| any.type_url == "type.googleapis.com/google.protobuf.Struct")
        .expect("a Struct");
    let extras: prost_types::Struct = prost::Message::decode(any.value.as_slice()).unwrap();
    assert_eq!(
        extras.fields["email_domain"].kind,
        Some(prost_types::value::Kind::StringValue("example.com".into()))
    );
}

#[tokio::test]
async fn retry_after_becomes_retry_info_and_pushback_with_jitter_added() {
    let mut exchange = Exchange::new().await;
    let body = fixture("error-429-too_many_requests.json");
    for (header, at_least, at_most) in [("2", 2_000, 2_400), ("9999", 60_000, 72_000)] {
        let http = answer(429, &format!("retry-after: {header}\r\n"), &body);

        let status = exchange.status_for(http, create("fresh")).await;

        let millis: u128 = pushback(&status).expect("a pushback").parse().unwrap();
        let delay = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
        assert!((at_least..=at_most).contains(&millis), "{millis} ms for {header}");
        assert_eq!(delay.as_millis(), millis);
    }
    let silent = exchange.status_for(json(429, &body), create("fresh")).await;
    assert!(silent.get_error_details().retry_info().is_none(), "nothing is invented");
}

#[tokio::test]
async fn no_response_of_stytchs_makes_trailers_too_large() {
    let mut exchange = Exchange::new().await;
    let long = |text: &str| text.repeat(20_000);
    for (reason, body) in [
        (
            "ASCII",
            json!({"error_type": long("a"), "error_message": long("b"), "error_url": long("c"), "request_id": long("d")}),
        ),
        (
            "just within the limits of each part",
            json!({
                "error_type": "member_not_found", "error_message": long("é"),
                "error_url": "u".repeat(256), "request_id": "r".repeat(256),
            }),
        ),
        (
            "the longest reason",
            json!({
                "error_type": "x".repeat(64), "error_message": long("\u{0}"),
                "error_url": "u".repeat(256), "request_id": "r".repeat(256),
            }),
        ),
        (
            "a precondition",
            json!({
                "error_type": "action_available_only_once_primary_authentication_is_met",
                "error_message": long("\u{1F511}"),
                "error_url": "u".repeat(256), "request_id": "r".repeat(256),
            }),
        ),
        (
            "large details",
            json!({
                "error_type": "x", "error_message": long("%"), "error_details": {"k": long("v")},
            }),
        ),
        (
            "deep details",
            json!({
                "error_type": "x", "error_details": {"k": [[[[[[[[[[{"v": null}]]]]]]]]]]},
            }),
        ),
    ] {
        let mut request = create(&"m".repeat(4_000));
        request.organization_id = "o".repeat(4_000);

        let status = exchange.status_for(json(400, &body.to_string()), request).await;

        let weight = weight(&status);
        assert!(weight <= MAX_TRAILERS, "{reason}: {weight} bytes");
        assert!(is_reason(&info(&status).reason), "{reason}");
    }
}

#[tokio::test]
async fn a_secret_echoed_by_stytch_is_masked() {
    let mut exchange = Exchange::new().await;
    let mut request = create("fresh");
    request.session_token = Some("token-7f3a".into());
    request.session_jwt = Some("424242".into());
    let body = json!({
        "error_type": "brand_new",
        "error_message": "Session token-7f3a (424242) is not valid.",
        "error_url": "https://stytch.com/docs?token-7f3a",
        "error_details": {"token-7f3a": {"list": ["is token-7f3a", 424242]}},
    });

    let status = exchange.status_for(json(400, &body.to_string()), request).await;

    let wire = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
    assert!(!wire.contains("token-7f3a") && !wire.contains("424242"), "{wire}");
    assert!(status.message().ends_with("Session [redacted] ([redacted]) is not valid."));
}

#[tokio::test]
async fn a_code_echoed_by_stytch_is_masked_even_as_a_number() {
    for (rpc, field, secret, number) in [
        (Rpc::AUTHENTICATE, "code", "031408", 31408),
        (Rpc::AUTHENTICATE, "code", "000000", 0),
        (Rpc::RECOVER, "recovery_code", "ab1c-d2ef-3gh4", 7),
        (Rpc::MIGRATE, "secret", "MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI", 7),
    ] {
        let body = json!({
            "error_type": "brand_new",
            "error_message": format!("{secret} is not valid."),
            "error_details": {"given": [secret, number, 7]},
        });
        let peer = Peer::answering(json(400, &body.to_string())).await;
        let facade = Facade::in_front_of(peer.addr).await;
        let mut request = (rpc.request)("fresh");
        request[field] = json!(secret);

        let status = rpc.with(facade.channel().await, request).await.expect_err("a failure");

        assert!(status.message().ends_with("[redacted] is not valid."), "{}", status.message());
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert!(!details.contains(secret), "{details}");
        let masked = if number == 7 { 1 } else { 2 };
        assert_eq!(details.matches("[redacted]").count() - 1, masked, "{details}");
    }
}

#[tokio::test]
async fn overlapping_secrets_are_masked_as_one_and_leave_nothing_of_either() {
    for (codes, text, expected) in [
        (["abc", "abcdef"], "abcdef is spent", "[redacted] is spent"),
        (["abcdef", "abc"], "abcdef is spent", "[redacted] is spent"),
        (["abcd", "cdef"], "abcdef is spent", "[redacted] is spent"),
        (["abcd", "abcd"], "ABCD is spent", "[redacted] is spent"),
        (["ab cd", "x"], "ab cd is spent", "it exists already"),
        (["redacted", "abcd"], "abcd is spent", "it exists already"),
    ] {
        let body = json!({
            "error_type": "recovery_codes_already_exist",
            "error_message": text,
            "error_details": {"given": [text, {"again": text}]},
        });
        let peer = Peer::answering(json(400, &body.to_string())).await;
        let facade = Facade::in_front_of(peer.addr).await;
        let mut request = (Rpc::MIGRATE.request)("fresh");
        request["recovery_codes"] = json!(codes);

        let migrated = Rpc::MIGRATE.with(facade.channel().await, request).await;

        let status = migrated.expect_err("a failure");
        assert!(status.message().ends_with(expected), "{codes:?}: {}", status.message());
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert!(!details.contains("def"), "{details}");
        assert_eq!(info(&status).reason, "RECOVERY_CODES_ALREADY_EXIST");
    }
}

/// A recovery code may be a single letter. Masking each occurrence would make the text eight times
/// as long.
#[tokio::test]
async fn secrets_in_every_word_take_bounded_time_and_make_no_large_status() {
    let error = json!({
        "error_type": "member_not_found", "error_message": "no member here ".repeat(20_000),
        "error_details": {"member": vec!["e"; 10_000]},
    });
    let peer = Peer::answering(json(404, &error.to_string())).await;
    for (upstream, codes) in [
        (support::sandbox().await, vec!["e"; 30]),
        (support::sandbox().await, vec!["a", "b", "c", "d", "e", "[", "]"]),
        (peer.addr, vec!["e"; 5_000]),
        (peer.addr, ["mem", "emb", "mbe", "ber", "er h", "r her", "her", "ere"].repeat(200)),
    ] {
        let facade = Facade::in_front_of(upstream).await;
        let mut request = (Rpc::MIGRATE.request)("nobody");
        request["secret"] = json!("MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI");
        let is_short = codes.iter().any(|code| code.len() == 1);
        request["recovery_codes"] = json!(codes);
        let start = Instant::now();

        let migrated = Rpc::MIGRATE.with(facade.channel().await, request).await;

        let status = migrated.expect_err("there is no such member");
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert_eq!(info(&status).reason, "MEMBER_NOT_FOUND");
        assert!(!is_short || status.message() == "not found", "what cannot be masked is left out");
        assert!(weight(&status) <= MAX_TRAILERS);
        assert!(start.elapsed() < support::PATIENCE, "{:?}", start.elapsed());
    }
}

/// The ways in which a text may echo a secret.
fn repeated(plain: &str) -> [String; 4] {
    let base64 = data_encoding::BASE64.encode(plain.as_bytes());
    let within = data_encoding::BASE64.encode(format!("a {plain} b").as_bytes());
    [plain.to_owned(), plain.to_ascii_uppercase(), base64, within]
}

#[tokio::test]
async fn our_own_credentials_echoed_by_stytch_are_masked_wherever_they_stand() {
    let setup = Setup::new("127.0.0.1:1".parse().unwrap());
    let secret = setup.stytch.secret.expose_secret().to_owned();
    let user = setup.stytch.project_id;
    let basic = data_encoding::BASE64.encode(format!("{user}:{secret}").as_bytes());
    let mut exchange = Exchange::new().await;
    for echo in repeated(&secret).into_iter().chain(repeated(&basic)) {
        for error_type in ["brand_new", "unauthorized_credentials", echo.as_str()] {
            let body = json!({
                "error_type": error_type,
                "error_message": format!("Basic {echo} is not known."),
                "error_url": format!("https://stytch.com/docs?{echo}"),
                "request_id": echo,
                "error_details": {echo.as_str(): [{"given": format!("Basic {echo}")}]},
            });

            let status = exchange.status_for(json(400, &body.to_string()), create("fresh")).await;

            let details = String::from_utf8_lossy(status.details());
            let wire = format!("{status:?}{details}").to_ascii_lowercase();
            let name: String = echo.chars().filter(char::is_ascii_alphanumeric).collect();
            for part in [&echo, &name, &secret, &basic].map(|it| it.to_ascii_lowercase()) {
                assert!(!wire.contains(&part), "{error_type}: {part} in {wire}");
            }
            match info(&status).reason.as_str() {
                "UPSTREAM_CREDENTIALS_REJECTED" => {
                    assert_eq!(status.message(), "Stytch refuses the credentials of this service");
                    assert!(!wire.contains("redacted"), "our text alone: {wire}");
                }
                reason if error_type == echo => assert_eq!(reason, "UNNAMED_ERROR"),
                _ => assert!(status.message().ends_with(" is not known."), "{}", status.message()),
            }
        }
    }
}

#[tokio::test]
async fn no_refusal_makes_trailers_too_large_and_omitted_violations_are_counted() {
    let facade = Facade::in_front_of(support::Closed::new().addr).await;
    let channel = facade.channel().await;
    for (codes, count) in [
        (vec![String::new(); 16], 16),
        (vec![String::new(); 300], 300),
        (vec![String::new(); 8_000], 8_000),
        (vec!["\n".to_owned(); 5_000], 5_000),
    ] {
        let mut request = (Rpc::MIGRATE.request)("");
        request["secret"] = json!("\n");
        request["recovery_codes"] = json!(codes);

        let status = Rpc::MIGRATE.with(channel.clone(), request).await.expect_err("a refusal");

        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(weight(&status) <= MAX_TRAILERS, "{} bytes", weight(&status));
        let details = status.get_error_details();
        let listed = &details.bad_request().expect("a BadRequest").field_violations;
        assert_eq!(listed.len(), 16, "there is room for them");
        assert_eq!((&*listed[0].field, &*listed[1].field), ("member_id", "secret"));
        let more = (count + 2 - listed.len()).to_string();
        assert!(status.message().ends_with(&format!(", and {more} more")), "{}", status.message());
        assert_eq!(details.error_info().unwrap().metadata["more_violations"], more);
    }
}

#[tokio::test]
async fn an_identifier_too_long_for_metadata_does_not_cost_a_success_its_response() {
    let body = json!({"secret": "S", "request_id": "r".repeat(100_000)}).to_string();
    let peer = Peer::answering(json(200, &body)).await;
    let facade = Facade::in_front_of(peer.addr).await;

    let answer = Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("the secret");

    assert_eq!(answer.get_ref()["secret"], "S");
    assert_eq!(support::request_id(answer.metadata()), None);
}

#[tokio::test]
async fn an_unexpected_field_is_left_unset_and_counted() {
    let body = json!({"secret": "S", "member": {"is_admin": "yes", "created_at": "soon"}});
    let peer = Peer::answering(json(200, &body.to_string())).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let page = async || {
        let page = reqwest::get(format!("http://{}/metrics", facade.admin)).await.unwrap();
        page.text().await.unwrap()
    };
    assert!(page().await.contains("totp_facade_upstream_unset_fields_total 0\n"));

    Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("the secret");

    let page = page().await;
    assert!(page.contains("totp_facade_upstream_unset_fields_total 2\n"), "{page}");
}

/// Any error response of a peer, from the likely to the absurd.
fn any_error() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let text = || prop_oneof![any::<String>(), "[a-z_]{1,30}", Just("\u{1F511}".repeat(2_000))];
    let value = move || {
        prop_oneof![
            4 => text().prop_map(|it| json!(it)),
            1 => Just(json!(null)),
            1 => Just(json!({"a": [{"b": null}]})),
            1 => Just(json!(-1.5)),
        ]
    };
    let keys = ["error_type", "error_message", "error_url", "request_id", "error_details", "error"];
    let object = subsequence(keys.to_vec(), 0..=keys.len())
        .prop_flat_map(move |keys| {
            let values = vec(value(), keys.len());
            values
                .prop_map(move |values| keys.iter().copied().zip(values).collect::<HashMap<_, _>>())
        })
        .prop_map(|object| json!(object).to_string().into_bytes());
    let body = prop_oneof![4 => object, 1 => vec(any::<u8>(), 0..200)];
    (300_u16..600, body)
}

#[test]
fn any_response_of_stytchs_becomes_a_status_with_details_that_fits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exchange = RefCell::new((runtime.block_on(Exchange::new()), 0));
    let mut config = ProptestConfig::with_cases(300);
    config.failure_persistence = None;

    proptest!(config, |((http_status, body) in any_error())| {
        let head = format!("HTTP/1.1 {http_status} It\r\ncontent-length: {}\r\n\r\n", body.len());
        let http = [head.as_bytes(), &body].concat();
        // A 304 never has a body.
        prop_assume!(http_status != 304);

        // A new façade after some failures: more would open its circuit breaker.
        let (exchange, uses) = &mut *exchange.borrow_mut();
        *uses += 1;
        if *uses % 9 == 0 {
            *exchange = runtime.block_on(Exchange::new());
        }
        let status = runtime.block_on(exchange.status_for(http, create("fresh")));

        let info = info(&status);
        prop_assert!(is_reason(&info.reason), "{}", info.reason);
        prop_assert!(!info.domain.is_empty());
        prop_assert_ne!(&info.upstream, "not_sent");
        prop_assert_eq!(info.http_status, Some(http_status.to_string()));
        prop_assert!(weight(&status) <= MAX_TRAILERS, "{} bytes", weight(&status));
    });
}

/// Whether the reason is valid in `ErrorInfo`.
fn is_reason(reason: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    matches!(reason.as_bytes(), [first, middle @ .., last]
        if first.is_ascii_uppercase() && part(*last) && (1..=61).contains(&middle.len())
            && middle.iter().all(|byte| part(*byte) || *byte == b'_'))
}

/// Returns the size of the trailers, as HTTP/2 counts it.
fn weight(status: &Status) -> usize {
    let mut trailers = http::HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}
