//! What reaches Stytch, and what is refused before anything does.

use serde_json::{Map, Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;
use totp_facade::proto::stytch::b2b::totp::v1::AuthenticateRequest;

use crate::support::{
    Facade, Setup, fixture, info,
    peer::{self, Peer},
    rpc::{Rpc, message},
};

/// Returns what a façade sends to Stytch for `request`.
async fn sent(rpc: Rpc, request: Value) -> peer::Request {
    let mut peer = Peer::answering(peer::json(200, rpc.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    rpc.with(facade.channel().await, request).await.expect("an answer");
    peer.request().await
}

/// Returns what the official SDK sends for the same arguments. The SDK rejects the response, which
/// does not matter here.
async fn sent_by_the_sdk(rpc: Rpc, request: Value) -> peer::Request {
    let mut peer = Peer::answering(peer::json(200, rpc.answer)).await;
    let client = crate::sandbox::sdk(peer.addr);
    fn arguments<T: serde::de::DeserializeOwned>(request: Value) -> T {
        serde_json::from_value(request).unwrap()
    }
    match rpc.example {
        "totp-create" => drop(client.totps.create(arguments(request)).await),
        "totp-authenticate" => drop(client.totps.authenticate(arguments(request)).await),
        "totp-migrate" => drop(client.totps.migrate(arguments(request)).await),
        "member-totp-delete" => {
            drop(client.organizations.members.delete_totp(arguments(request)).await);
        }
        "recovery-codes-get" => drop(client.recovery_codes.get(arguments(request)).await),
        "recovery-codes-rotate" => drop(client.recovery_codes.rotate(arguments(request)).await),
        "recovery-codes-recover" => drop(client.recovery_codes.recover(arguments(request)).await),
        other => panic!("{other}"),
    }
    peer.request().await
}

/// Returns arguments for an RPC that the SDK has too: the required ones only, and all of them.
fn arguments(rpc: Rpc) -> Vec<Value> {
    let ids = json!({
        "organization_id": "Größe/ of \"works\" \u{1F511}?#&=%2e",
        "member_id": "a member's external id",
    });
    let proofs = json!({
        "intermediate_session_token": "intermediate=",
        "session_token": "session",
        "session_jwt": "header.claims.signature",
    });
    let session = json!({
        "session_duration_minutes": 527_040,
        "session_custom_claims": {"kept": 1.5, "whole": 7, "deleted": null, "deep": [null, {"a": {}}]},
        "telemetry_id": "",
    });
    let own = match rpc.example {
        "totp-create" => json!({"expiration_minutes": 1440}),
        "totp-authenticate" => json!({
            "code": "031408",
            "set_mfa_enrollment": "unenroll",
            "set_default_mfa": false,
        }),
        "totp-migrate" => json!({"secret": "MZ77 j2bro=", "recovery_codes": ["a", "ß"]}),
        "recovery-codes-recover" => json!({"recovery_code": "ab1c-d2ef-3gh4"}),
        _ => json!({}),
    };
    let parts = match rpc.example {
        "totp-create" => vec![&ids, &proofs, &own],
        "totp-authenticate" | "recovery-codes-recover" => vec![&ids, &proofs, &session, &own],
        _ => vec![&ids, &own],
    };
    let all: Map<_, _> =
        parts.into_iter().flat_map(|part| part.as_object().unwrap().clone()).collect();
    vec![(rpc.request)("fresh"), all.into()]
}

fn without_nulls(body: &Value) -> Value {
    let fields = body.as_object().unwrap().clone();
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
}

#[tokio::test]
async fn what_is_sent_equals_what_the_official_sdk_sends_for_the_same_arguments() {
    for rpc in Rpc::ALL {
        for request in arguments(rpc) {
            let ours = sent(rpc, request.clone()).await;
            let theirs = sent_by_the_sdk(rpc, request).await;

            let name = rpc.name;
            assert_eq!(ours.header("authorization"), theirs.header("authorization"), "{name}");
            if rpc.line.starts_with("POST") {
                // The SDK sends null for an absent field.
                assert_eq!(ours.json(), without_nulls(&theirs.json()), "{name}");
                assert_eq!(ours.line(), theirs.line(), "{name}");
            } else {
                // The documentation has no body and no query here. The SDK sends the path
                // parameters as generated, and encodes more than necessary.
                assert_eq!(ours.body, "", "{name}");
                let path = |line: &str| {
                    let line = percent_encoding::percent_decode_str(line).decode_utf8().unwrap();
                    line.split("?organization_id").next().unwrap().replace(" HTTP/1.1", "")
                };
                assert_eq!(path(&ours.line()), path(&theirs.line()), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_example_requests_are_sent_as_they_stand() {
    for rpc in Rpc::ALL {
        let example: Value =
            serde_json::from_str(&fixture(&format!("{}.request.json", rpc.example))).unwrap();
        if rpc.line.starts_with("POST") {
            assert_eq!(sent(rpc, example.clone()).await.json(), example, "{}", rpc.name);
            continue;
        }
        // These describe a request rather than being one.
        let line = format!(
            "{} {}",
            example["method"].as_str().unwrap(),
            example["path"].as_str().unwrap()
        );
        let ids: Vec<_> = line.split('/').filter(|part| part.contains("-test-")).collect();
        let mut request = json!({"organization_id": ids[0], "member_id": ids[1]});
        if let Some(token) = example.pointer("/headers/X-Stytch-Member-Session") {
            request["session_token"] = token.clone();
        }

        let sent = sent(rpc, request).await;

        assert_eq!(sent.line(), format!("{line} HTTP/1.1"), "{}", rpc.name);
        for (name, value) in example["headers"].as_object().into_iter().flatten() {
            assert_eq!(sent.header(name), value.as_str(), "{name}");
        }
        assert_eq!((sent.body.as_str(), sent.header("content-length")), ("", None), "{}", rpc.name);
    }
}

#[tokio::test]
async fn absent_fields_are_left_out_and_empty_ones_are_sent() {
    let request = json!({
        "organization_id": "example-works", "member_id": "fresh", "code": "000000",
        "session_token": "token", "session_jwt": "", "set_default_mfa": false,
        "session_custom_claims": {},
    });

    assert_eq!(sent(Rpc::AUTHENTICATE, request.clone()).await.json(), request);
}

#[tokio::test]
async fn migrate_without_recovery_codes_sends_an_empty_list() {
    let request = json!({"organization_id": "works", "member_id": "fresh", "secret": "AAAA"});

    let body = sent(Rpc::MIGRATE, request).await.json();

    assert_eq!(body["recovery_codes"], json!([]));
}

#[tokio::test]
async fn null_claims_survive_from_protobuf_to_the_body() {
    let null = prost_types::Value { kind: Some(prost_types::value::Kind::NullValue(0)) };
    let list =
        prost_types::value::Kind::ListValue(prost_types::ListValue { values: vec![null.clone()] });
    let fields = [("gone", null), ("list", prost_types::Value { kind: Some(list) })];
    let claims =
        prost_types::Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).into() };
    let mut peer = Peer::answering(peer::json(200, Rpc::AUTHENTICATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;

    let request = AuthenticateRequest { session_custom_claims: Some(claims), ..authenticate() };
    facade.client().await.authenticate(request).await.expect("an answer");

    let body = peer.request().await.json();
    assert_eq!(body["session_custom_claims"], json!({"gone": null, "list": [null]}));
}

fn authenticate() -> AuthenticateRequest {
    message(&(Rpc::AUTHENTICATE.request)("fresh").to_string())
}

#[tokio::test]
async fn claims_that_json_cannot_express_are_refused_rather_than_sent_as_null() {
    use prost_types::{Struct, Value, value::Kind};
    let peer = Peer::answering(peer::json(200, Rpc::AUTHENTICATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut client = facade.client().await;

    for kind in [
        None,
        Some(Kind::NumberValue(f64::NAN)),
        Some(Kind::NumberValue(f64::INFINITY)),
        Some(Kind::ListValue(prost_types::ListValue { values: vec![Value { kind: None }] })),
        Some(Kind::StructValue(Struct {
            fields: [("b".to_owned(), Value { kind: Some(Kind::NumberValue(-f64::INFINITY)) })]
                .into(),
        })),
    ] {
        let claims = Struct { fields: [("a".to_owned(), Value { kind })].into() };
        let request = AuthenticateRequest { session_custom_claims: Some(claims), ..authenticate() };

        let status = client.authenticate(request).await.expect_err("no JSON");

        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let field = &details.bad_request().unwrap().field_violations[0].field;
        assert_eq!(field, "session_custom_claims");
    }
    assert_eq!(peer.connections(), 0, "nothing was sent");
}

/// Ids that are difficult to put into a URL.
const NAMES: [&str; 14] = [
    "a/b",
    "../../organizations",
    "..%2f",
    "%2e%2e",
    "%",
    "a?b#c&d=e",
    "a b+c",
    "a\\b",
    "...",
    "{member_id}",
    "ß\u{1F469}\u{200d}\u{1F4BB}",
    ";v=1",
    "a:b@c",
    "-._~",
];

#[tokio::test]
async fn ids_in_a_path_are_exactly_one_segment_each() {
    for rpc in [Rpc::DELETE, Rpc::GET] {
        for name in NAMES {
            for (organization, member) in [(name, "fresh"), ("example-works", name)] {
                let request = json!({"organization_id": organization, "member_id": member});

                let line = sent(rpc, request).await.line();

                let segments = |path: &str| -> Vec<String> {
                    let path = path.split(' ').nth(1).unwrap();
                    assert!(!path.contains(['?', '#']), "{path}");
                    let decode =
                        |it| percent_encoding::percent_decode_str(it).decode_utf8().unwrap();
                    path.split('/').map(|segment| decode(segment).into_owned()).collect()
                };
                let mut expected = segments(rpc.line);
                for segment in &mut expected {
                    match segment.as_str() {
                        "example-works" => *segment = organization.into(),
                        "fresh" => *segment = member.into(),
                        _ => {}
                    }
                }
                assert_eq!(segments(&line), expected, "{}", rpc.name);
            }
        }
    }
}

#[tokio::test]
async fn an_id_that_cannot_be_a_segment_is_refused_unsent() {
    for rpc in [Rpc::DELETE, Rpc::GET] {
        let peer = Peer::answering(peer::json(200, rpc.answer)).await;
        let facade = Facade::in_front_of(peer.addr).await;
        for id in [".", "..", ""] {
            let request = json!({"organization_id": id, "member_id": id});

            let status = rpc.with(facade.channel().await, request).await.expect_err(id);

            assert_eq!(status.code(), Code::InvalidArgument, "{id:?}");
            let details = status.get_error_details();
            let violations = &details.bad_request().unwrap().field_violations;
            let named: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
            assert_eq!(named, ["organization_id", "member_id"], "{id:?}");
        }
        assert_eq!(peer.connections(), 0, "nothing was sent");
    }
}

#[tokio::test]
async fn a_session_that_a_delete_is_made_with_travels_as_a_header() {
    let ids = (Rpc::DELETE.request)("fresh");
    for (field, header) in [
        ("session_token", "x-stytch-member-session"),
        ("session_jwt", "x-stytch-member-sessionjwt"),
    ] {
        let mut request = ids.clone();
        request[field] = json!("proof=");

        let sent = sent(Rpc::DELETE, request).await;

        assert_eq!(sent.header(header), Some("proof="));
        assert_eq!(sent.head.matches("x-stytch-member").count(), 1);
    }
    let sent = sent(Rpc::DELETE, ids).await;
    assert!(!sent.head.contains("x-stytch-member"), "without one, the project's own permissions");
}

#[tokio::test]
async fn the_headers_are_those_that_stytch_wants() {
    for rpc in Rpc::ALL {
        let sent = sent(rpc, (rpc.request)("fresh")).await;

        assert_eq!(sent.line(), format!("{} HTTP/1.1", rpc.line));
        assert_eq!(sent.header("content-type"), Some("application/json"), "without a charset");
        assert!(sent.header("user-agent").unwrap().starts_with("totp-facade/"));
        assert!(sent.header("authorization").unwrap().starts_with("Basic "));
        assert_eq!(sent.header("transfer-encoding"), None, "the length is announced");
    }
}

#[tokio::test]
async fn a_base_url_with_a_path_keeps_it() {
    for rpc in Rpc::ALL {
        let mut peer = Peer::answering(peer::json(200, rpc.answer)).await;
        let mut setup = Setup::new(peer.addr);
        setup.stytch.base_url = format!("http://{}/by/way/of/", peer.addr).parse().unwrap();
        let facade = setup.start().await;

        rpc.try_for(facade.channel().await, "fresh").await.expect("an answer");

        let expected = rpc.line.replacen(" /", " /by/way/of/", 1);
        assert_eq!(peer.request().await.line(), format!("{expected} HTTP/1.1"));
    }
}

#[tokio::test]
async fn an_invalid_request_is_refused_unsent_with_every_violation_at_once() {
    let (create, authenticate) = (Rpc::CREATE, Rpc::AUTHENTICATE);
    let (migrate, delete, recover) = (Rpc::MIGRATE, Rpc::DELETE, Rpc::RECOVER);
    let tokens = ["intermediate_session_token", "session_token", "session_jwt"];
    let mut cases = vec![
        (create, json!({"expiration_minutes": 4}), vec!["expiration_minutes"]),
        (create, json!({"expiration_minutes": 1441}), vec!["expiration_minutes"]),
        (create, json!({"expiration_minutes": 0}), vec!["expiration_minutes"]),
        (create, json!({"expiration_minutes": -5}), vec!["expiration_minutes"]),
        (authenticate, json!({"session_duration_minutes": 4}), vec!["session_duration_minutes"]),
        (
            authenticate,
            json!({"session_duration_minutes": 527_041}),
            vec!["session_duration_minutes"],
        ),
        (recover, json!({"session_duration_minutes": 0}), vec!["session_duration_minutes"]),
        (authenticate, json!({"set_mfa_enrollment": "enrol"}), vec!["set_mfa_enrollment"]),
        (authenticate, json!({"set_mfa_enrollment": ""}), vec!["set_mfa_enrollment"]),
        (authenticate, json!({"telemetry_id": "\n"}), vec!["telemetry_id"]),
        (authenticate, json!({"session_token": null}), vec![tokens[0]]),
        (authenticate, json!({"session_token": ""}), vec![tokens[0]]),
        (recover, json!({"session_token": null}), vec![tokens[0]]),
        (recover, json!({"recovery_code": ""}), vec!["recovery_code"]),
        (recover, json!({"recovery_code": "a\tb"}), vec!["recovery_code"]),
        (migrate, json!({"secret": ""}), vec!["secret"]),
        (
            migrate,
            json!({"recovery_codes": ["a", "", "\n"]}),
            vec!["recovery_codes[1]", "recovery_codes[2]"],
        ),
        (delete, json!({"session_token": ""}), vec!["session_token"]),
        (
            delete,
            json!({"session_token": "a b", "session_jwt": "ß"}),
            vec!["session_token", "session_jwt"],
        ),
    ];
    for code in ["", "12345", "1234567", "12345a", "123 45", "１２３４５６", "-12345"] {
        cases.push((authenticate, json!({"code": code}), vec!["code"]));
    }
    for rpc in [create, authenticate, recover] {
        let broken = json!({tokens[0]: "\r", tokens[1]: "\n", tokens[2]: "\u{7f}"});
        cases.push((rpc, broken, tokens.to_vec()));
    }
    for rpc in Rpc::ALL {
        let ids = vec!["organization_id", "member_id"];
        cases.push((rpc, json!({"organization_id": "", "member_id": ""}), ids));
        for id in ["a\nb", "a\u{0}", "\u{85}", "\t"] {
            cases.push((rpc, json!({"member_id": id}), vec!["member_id"]));
        }
    }
    let peer = Peer::answering("").await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;

    for (rpc, wrong, fields) in cases {
        let mut request = (rpc.request)("fresh");
        request.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let what = format!("{} with {wrong}", rpc.name);

        let status = rpc.with(channel.clone(), request).await.expect_err(&what);

        let details = status.get_error_details();
        let violations = &details.bad_request().expect("a BadRequest").field_violations;
        let named: Vec<_> = violations.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(status.code(), Code::InvalidArgument, "{what}");
        assert_eq!(info(&status).reason, "INVALID_REQUEST", "{what}");
        assert_eq!(info(&status).upstream, "not_sent", "{what}");
        assert_eq!(named, fields, "{what}");
        assert!(violations.iter().all(|it| !it.description.is_empty()), "{what}");
    }
    assert_eq!(peer.connections(), 0, "nothing was sent");
}

#[tokio::test]
async fn whatever_stytch_may_accept_is_sent() {
    let mut requests: Vec<_> = [" ", ".", "..", "\u{202e}"]
        .into_iter()
        .chain(NAMES)
        .map(|name| (Rpc::CREATE, (Rpc::CREATE.request)(name)))
        .collect();
    requests.push((Rpc::CREATE, (Rpc::CREATE.request)(&"x".repeat(8 * 1024))));
    for (rpc, field, values) in [
        (Rpc::CREATE, "expiration_minutes", [json!(5), json!(1440)]),
        (Rpc::AUTHENTICATE, "session_duration_minutes", [json!(5), json!(527_040)]),
        (Rpc::AUTHENTICATE, "code", [json!("000000"), json!("999999")]),
        (Rpc::RECOVER, "recovery_code", [json!("AB1C D2EF"), json!("x")]),
        (Rpc::MIGRATE, "secret", [json!("not base32!"), json!("a")]),
    ] {
        for value in values {
            let mut request = (rpc.request)("fresh");
            request[field] = value;
            requests.push((rpc, request));
        }
    }
    for (rpc, request) in requests {
        assert_eq!(sent(rpc, request.clone()).await.json(), request);
    }
}
