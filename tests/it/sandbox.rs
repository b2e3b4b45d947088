//! The sandbox as others see it: an official SDK, and plain HTTP.

use std::{collections::BTreeSet, net::SocketAddr, time::SystemTime};

use reqwest::StatusCode;
use serde_json::{Value, json};
use stytch::{
    b2b::{
        client::Client as Sdk, organizations_members as members, recovery_codes, sessions, totps,
    },
    client::{Client as SdkHttp, Vertical},
    consumer::m2m,
};
use totp_facade::sandbox::Seed;

use crate::support::{self, rfc6238::code_of};

/// The official Rust SDK, pointed at `addr` with the sandbox's credentials.
pub fn sdk(addr: SocketAddr) -> Sdk {
    let project = Seed::embedded().project;
    let base_url = format!("http://{addr}/").parse().unwrap();
    let http =
        SdkHttp::new_with_base_url(&project.project_id, &project.secret, base_url, Vertical::B2B)
            .unwrap();
    Sdk::new_with_http_client(http.clone(), http)
}

#[tokio::test]
async fn the_official_sdk_creates_a_totp() {
    let client = sdk(support::sandbox().await);

    let answer = client
        .totps
        .create(totps::CreateRequest {
            organization_id: "example-works".into(),
            member_id: "fresh".into(),
            expiration_minutes: Some(30),
            ..Default::default()
        })
        .await
        .expect("a TOTP");

    assert_eq!(answer.status_code.as_u16(), 200);
    assert_eq!(answer.secret.len(), 32);
    assert_eq!(answer.recovery_codes.len(), 10);
    assert_eq!(answer.member.totp_registration_id, answer.totp_registration_id);
}

#[tokio::test]
async fn the_official_sdk_does_the_whole_flow_and_verifies_the_session_jwts() {
    let client = sdk(support::sandbox().await);
    let (organization_id, member_id) = ("example-works".to_owned(), "fresh".to_owned());
    let new = totps::CreateRequest {
        organization_id: organization_id.clone(),
        member_id: member_id.clone(),
        ..Default::default()
    };
    let created = client.totps.create(new.clone()).await.expect("a TOTP");
    let code = code_of(&created.secret, SystemTime::now());
    let authenticate = |login: &str| totps::AuthenticateRequest {
        organization_id: organization_id.clone(),
        member_id: member_id.clone(),
        code: code.clone(),
        intermediate_session_token: Some(format!("sandbox-login.fresh.{login}")),
        session_duration_minutes: Some(5),
        // The SDK verifies any JWT of the project's as it does an M2M token, which has a scope.
        session_custom_claims: Some(json!({"scope": "read:totp"})),
        ..Default::default()
    };

    let session = client.totps.authenticate(authenticate("1")).await.expect("a session");

    let verified = client.m2m.authenticate_token(token(&session.session_jwt)).await;
    let verified = verified.expect("the JWT verifies");
    assert_eq!(verified.client_id, session.member_id, "the subject");
    assert_eq!(verified.scopes, ["read:totp"]);
    let known = session.member_session.expect("the session");
    let claim = &verified.custom_claims["https://stytch.com/session"];
    assert_eq!(claim["id"], known.member_session_id);
    assert_eq!(claim["authentication_factors"][1]["type"], "totp");
    let mut forged = session.session_jwt.clone().into_bytes();
    let last = forged.len() - 10;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = token(&String::from_utf8(forged).unwrap());
    client.m2m.authenticate_token(forged).await.expect_err("a changed signature");

    let again = client
        .sessions
        .authenticate(sessions::AuthenticateRequest {
            session_jwt: Some(session.session_jwt.clone()),
            ..Default::default()
        })
        .await
        .expect("the same session");
    assert_eq!(again.session_token, session.session_token);

    let replay = client.totps.authenticate(authenticate("2")).await.expect_err("a replay");
    assert_eq!(error_type(replay), "totp_code_already_authenticated");

    let recovered = client
        .recovery_codes
        .recover(recovery_codes::RecoverRequest {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
            recovery_code: created.recovery_codes[0].clone(),
            session_token: Some(session.session_token),
            ..Default::default()
        })
        .await
        .expect("a recovery code");
    assert_eq!(recovered.recovery_codes_remaining, 9);
    let rotated = client
        .recovery_codes
        .rotate(recovery_codes::RotateRequest {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
        })
        .await
        .expect("new codes");
    let read = client
        .recovery_codes
        .get(recovery_codes::GetRequest {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
        })
        .await
        .expect("the codes");
    assert_eq!(read.recovery_codes, rotated.recovery_codes);
    client
        .organizations
        .members
        .delete_totp(members::DeleteTOTPRequest {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
        })
        .await
        .expect("removed");
    client.totps.create(new).await.expect("another TOTP");
    let migrated = client
        .totps
        .migrate(totps::MigrateRequest {
            organization_id,
            member_id,
            secret: created.secret,
            recovery_codes: Vec::new(),
        })
        .await
        .expect("migrated over the pending one");
    assert_eq!(migrated.recovery_codes.len(), 10);
}

fn token(jwt: &str) -> m2m::AuthenticateTokenRequest {
    m2m::AuthenticateTokenRequest {
        access_token: jwt.to_owned(),
        required_scopes: None,
        max_token_age_seconds: Some(60),
        scope_authorization_func: None,
    }
}

fn error_type(error: stytch::Error) -> String {
    let stytch::Error::Response(response) = error else { panic!("{error:?}") };
    response.error_type
}

#[tokio::test]
async fn the_official_sdk_reads_the_sandboxs_errors() {
    let client = sdk(support::sandbox().await);
    let request = totps::CreateRequest {
        organization_id: "example-works".into(),
        member_id: "enrolled".into(),
        ..Default::default()
    };

    let error = client.totps.create(request).await.expect_err("an active TOTP");

    let stytch::Error::Response(response) = error else { panic!("{error:?}") };
    assert_eq!(response.status_code.as_u16(), 400);
    assert_eq!(response.error_type, "active_totp_exists");
}

#[tokio::test]
async fn the_qr_code_holds_the_uri_that_stytch_makes() {
    let answer = post(
        support::sandbox().await,
        "",
        &json!({
            "organization_id": "example-works", "member_id": "fresh"
        }),
    )
    .await;

    let picture = answer["qr_code"].as_str().unwrap();
    let file = data_encoding::BASE64
        .decode(picture.strip_prefix("data:image/png;base64,").unwrap().as_bytes())
        .unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(
        (frame.color_type, frame.bit_depth),
        (png::ColorType::Grayscale, png::BitDepth::Sixteen)
    );
    assert!((150..=250).contains(&frame.width), "{} pixels", frame.width);
    let (side, line) = (frame.width as usize, frame.line_size);
    let mut image =
        rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| pixels[y * line + 2 * x]);
    let (_, uri) = image.detect_grids()[0].decode().expect("a readable code");
    let secret = answer["secret"].as_str().unwrap();
    assert_eq!(
        uri,
        format!(
            "otpauth://totp/Sandbox%20%28Example%20Works%29:fresh%40example.com\
             ?algorithm=SHA1&digits=6&period=30&secret={secret}&issuer=Sandbox%20%28Example%20Works%29"
        )
    );
}

#[tokio::test]
async fn secrets_and_recovery_codes_have_stytchs_form() {
    let addr = support::sandbox().await;
    let request = json!({"organization_id": "works", "member_id": "fresh"});

    for _ in 0..5 {
        let answer = post(addr, "", &request).await;

        let secret = answer["secret"].as_str().unwrap();
        let key = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
        assert_eq!(key.len(), 20);
        let codes = answer["recovery_codes"].as_array().unwrap();
        assert_eq!(codes.len(), 10);
        for code in codes {
            let groups: Vec<_> = code.as_str().unwrap().split('-').collect();
            let right = |it: &&str| {
                it.len() == 4 && it.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            assert!(groups.len() == 3 && groups.iter().all(right), "{code}");
        }
    }
}

#[tokio::test]
async fn the_sandbox_returns_every_field_of_stytchs_objects() {
    let addr = support::sandbox().await;
    let ids = json!({"organization_id": "example-works", "member_id": "fresh"});
    let created = post(addr, "", &ids).await;
    let mut request = ids;
    request["code"] = code_of(created["secret"].as_str().unwrap(), SystemTime::now()).into();
    request["intermediate_session_token"] = "sandbox-login.fresh".into();
    let session = post(addr, "/authenticate", &request).await;

    for (answer, example, paths) in [
        (created, "totp-create", &["", "/member", "/organization"][..]),
        (
            session,
            "totp-authenticate",
            &[
                "",
                "/member_session",
                "/member_session/authentication_factors/0",
                "/member_session/authentication_factors/1",
                "/member_session/authentication_factors/1/authenticator_app_factor",
            ],
        ),
    ] {
        let example =
            support::fixture(&format!("{example}.response.nulls-and-unknown-fields.json"));
        let example: Value = serde_json::from_str(&example).unwrap();
        for path in paths {
            let keys = |value: &Value| -> BTreeSet<String> {
                value.pointer(path).unwrap().as_object().unwrap().keys().cloned().collect()
            };
            assert_eq!(keys(&answer), keys(&example), "{path}");
        }
    }
}

#[tokio::test]
async fn the_sandbox_refuses_what_stytch_refuses() {
    let addr = support::sandbox().await;
    let project = Seed::embedded().project;
    let (id, secret) = (project.project_id.as_str(), project.secret.as_str());
    let good = r#"{"organization_id": "works", "member_id": "fresh"}"#;
    let json = "application/json";

    for (path, user, password, content_type, body, status, error_type, reason) in [
        ("/v1/b2b/totp", id, "wrong", json, good, 401, "unauthorized_credentials", "wrong secret"),
        (
            "/v1/b2b/totp",
            "not-a-project",
            secret,
            json,
            good,
            400,
            "invalid_project_id_authentication",
            "malformed project",
        ),
        ("/v1/b2b/totps", id, secret, json, good, 404, "route_not_found", "wrong path"),
        (
            "/v1/b2b/totp",
            id,
            secret,
            "application/json; charset=utf-8",
            good,
            400,
            "bad_request",
            "a charset",
        ),
        ("/v1/b2b/totp", id, secret, json, "{", 400, "bad_request", "no JSON"),
        ("/v1/b2b/totp", id, secret, json, "[]", 400, "bad_request", "no object"),
        ("/v1/b2b/totp", id, secret, json, "{}", 400, "bad_request", "no ids"),
        (
            "/v1/b2b/totp",
            id,
            secret,
            json,
            r#"{"organization_id": "works", "member_id": "fresh", "expiration_minutes": 4}"#,
            400,
            "invalid_expiration",
            "too few minutes",
        ),
        (
            "/v1/b2b/totp",
            id,
            secret,
            json,
            r#"{"organization_id": "works", "member_id": "fresh", "session_token": "unknown"}"#,
            404,
            "session_not_found",
            "an unknown session",
        ),
    ] {
        let answer = reqwest::Client::new()
            .post(format!("http://{addr}{path}"))
            .basic_auth(user, Some(password))
            .header("content-type", content_type)
            .body(body)
            .send()
            .await
            .unwrap();

        assert_eq!(answer.status(), StatusCode::from_u16(status).unwrap(), "{reason}");
        let error: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(error["error_type"], error_type, "{reason}");
        assert_eq!(error["status_code"], status, "{reason}");
        assert!(error["request_id"].as_str().unwrap().starts_with("request-id-test-"), "{reason}");
    }
}

async fn post(addr: SocketAddr, path: &str, body: &Value) -> Value {
    let project = Seed::embedded().project;
    let answer = reqwest::Client::new()
        .post(format!("http://{addr}/v1/b2b/totp{path}"))
        .basic_auth(project.project_id, Some(project.secret))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}
