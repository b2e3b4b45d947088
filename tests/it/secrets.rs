//! Secrets appear in answers to the caller and nowhere else.

use serde_json::json;
use totp_facade::proto::stytch::b2b::{
    organization::v1::ActiveScimConnection,
    totp::v1::{CreateRequest, CreateResponse, totp_service_client::TotpServiceClient},
};

use crate::support::{
    create, fixture,
    peer::{self, Peer, answer},
    process::{serve, start},
};

pub const STYTCH_SECRET: &str = "secret-test-never-to-be-printed-000";
const TOKENS: [&str; 3] = [
    "intermediate-never-to-be-printed=",
    "session-never-to-be-printed",
    "header.never-printed.jwt",
];

/// What Stytch does, call after call: a success and every kind of failure.
fn answers() -> Vec<String> {
    let success = fixture("totp-create.response.json");
    let echo = json!({
        "error_type": "brand_new",
        "error_message": format!("{} {} {} are not valid", TOKENS[0], TOKENS[1], TOKENS[2]),
        "error_details": {"tokens": TOKENS},
    });
    let odd = success.replace("\"2025-11-03T09:14:27Z\"", "\"vqjx-xvbo-thd0\"");
    let no_secret = success.replace("\"secret\"", "\"other\"");
    vec![
        peer::json(200, &success),
        peer::json(200, &odd),
        peer::json(200, &no_secret),
        peer::json(200, &success[..2000]),
        peer::json(400, &echo.to_string()),
        peer::json(401, &fixture("error-401-unauthorized_credentials.json")),
        peer::json(429, &fixture("error-429-too_many_requests.json")),
        peer::json(500, &echo.to_string()),
        peer::json(302, &success),
        answer(502, "content-type: text/html\r\n", &success),
        // Cut short, and then closed.
        format!("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{}", &success[..1000]),
        "HTTP/1.1 200 OK\r\ncontent-".to_owned(),
        "nothing like HTTP".to_owned(),
    ]
}

/// A request that is full of them.
pub fn request() -> CreateRequest {
    let [intermediate_session_token, session_token, session_jwt] = TOKENS.map(|it| Some(it.into()));
    CreateRequest { intermediate_session_token, session_token, session_jwt, ..create("fresh") }
}

/// Everything that must not be printed.
fn secrets() -> Vec<String> {
    let success: CreateResponse =
        serde_json::from_str(&fixture("totp-create.response.json")).unwrap();
    let basic = data_encoding::BASE64.encode(format!("project-test-1:{STYTCH_SECRET}").as_bytes());
    let picture = success.qr_code.rsplit(',').next().unwrap()[..40].to_owned();
    let mut secrets = vec![STYTCH_SECRET.to_owned(), basic, success.secret, picture];
    secrets.extend(TOKENS.map(ToOwned::to_owned));
    secrets.extend(success.recovery_codes);
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_trace_level_through_success_and_every_failure_prints_no_secret() {
    for format in ["text", "json"] {
        let peer = Peer::start(move |mut connection| async move {
            // One connection a call, so that its number picks the answer.
            connection.request().await;
            let answers = answers();
            let answer = &answers[(connection.number - 1) % answers.len()];
            connection.send(answer.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
        })
        .await;
        let mut command = serve(&format!("http://{}", peer.addr), STYTCH_SECRET);
        command.args(["--drain-delay", "0s", "--log-format", format, "--log", "trace"]);
        let (server, url) = start(command);
        let mut client = TotpServiceClient::connect(url).await.unwrap();

        let mut codes = Vec::new();
        for _ in answers() {
            codes.push(
                client.create(request()).await.map_or_else(|it| it.code(), |_| tonic::Code::Ok),
            );
        }
        let invalid =
            CreateRequest { session_token: Some(format!("{}\n", TOKENS[1])), ..request() };
        client.create(invalid).await.expect_err("a control character");

        server.signal("TERM");
        let (code, stdout, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        let ok = codes.iter().filter(|code| **code == tonic::Code::Ok).count();
        assert_eq!(ok, 2, "{codes:?}");
        assert!(stderr.len() > 10_000, "tracing was on");
        assert!(stderr.contains("member.created_at"), "the odd field is named");
        assert_none_in(&[("stdout", &stdout), ("stderr", &stderr)]);
    }
}

/// No line of these streams has a secret in it.
#[track_caller]
pub fn assert_none_in(streams: &[(&str, &str)]) {
    for secret in secrets() {
        for (stream, text) in streams {
            let line = text.lines().find(|line| line.contains(&secret));
            assert!(line.is_none(), "{secret} on {stream}: {line:?}");
        }
    }
}

#[test]
fn debug_of_the_messages_hides_every_secret() {
    let answer: CreateResponse =
        serde_json::from_str(&fixture("totp-create.response.json")).unwrap();
    let connection =
        ActiveScimConnection { bearer_token_last_four: "4f2e".into(), ..Default::default() };

    let text = format!("{:?} {answer:#?} {connection:?}", request());

    for secret in secrets() {
        assert!(!text.contains(&secret), "{secret} in {text}");
    }
    assert!(!text.contains("4f2e"), "{text}");
    assert!(text.contains("ada@example.com"), "the rest is shown");
}

#[test]
fn debug_of_the_settings_hides_the_secret() {
    let setup = crate::support::Setup::new("127.0.0.1:1".parse().unwrap());
    let client = totp_facade::stytch::Client::new(&setup.stytch).unwrap();

    let text = format!("{:?} {client:?}", setup.stytch);

    assert!(!text.contains("not-a-real-secret"), "{text}");
    assert!(!text.contains("Basic "), "{text}");
}
