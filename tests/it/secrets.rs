//! Secrets appear in responses to the caller and nowhere else.

use serde_json::{Value, json};
use totp_facade::{
    access::token_line,
    connection::tls::Files,
    otlp::Protocol,
    proto::stytch::b2b::{organization::v1::ActiveScimConnection, recovery_codes, totp},
    telemetry::metrics::Metrics,
};

use crate::support::{
    credentials::{AUDIENCE, Authority, ISSUER, Issuing, jwks},
    fixture,
    folder::Folder,
    otlp::Receiver,
    peer::{self, Peer, answer},
    process::{Server, serve, start},
    rpc::{Rpc, message},
};

pub const STYTCH_SECRET: &str = "secret-test-never-to-be-printed-000";
const TOKENS: [&str; 3] = [
    "intermediate-never-to-be-printed=",
    "session-never-to-be-printed",
    "header.never-printed.jwt",
];
const CODE: &str = "731408";
const RECOVERY_CODE: &str = "never-printed-code";
const MIGRATED: &str = "NEVERPRINTEDSECRETINBASE32AAAAAA";

/// Stytch's responses, one for each call: successes and every kind of failure.
fn answers(rpc: Rpc) -> Vec<String> {
    let success = fixture(&format!("{}.response.json", rpc.example));
    let basic = data_encoding::BASE64.encode(format!("project-test-1:{STYTCH_SECRET}").as_bytes());
    let given =
        [TOKENS.as_slice(), &[CODE, RECOVERY_CODE, MIGRATED, STYTCH_SECRET, &basic]].concat();
    let echo = json!({
        "error_type": "brand_new",
        "error_message": format!("{} are not valid", given.join(" ")),
        "error_details": {"given": given},
    });
    let as_names = |secret: &str| {
        json!({"error_type": secret, "request_id": secret, "error_url": secret}).to_string()
    };
    let odd = success.replace("\"2025-11-03T09:14:27Z\"", "\"vqjx-xvbo-thd0\"");
    vec![
        peer::json(200, &success),
        peer::json(200, &odd),
        peer::json(200, &format!("[{success}]")),
        peer::json(200, &success[..success.len() - 9]),
        peer::json(400, &echo.to_string()),
        peer::json(400, &as_names(STYTCH_SECRET)),
        peer::json(400, &as_names(&basic)),
        // The caller's own token, if the call carries one.
        peer::json(400, &if sends_token(rpc) { as_names(TOKENS[1]) } else { echo.to_string() }),
        peer::json(401, &fixture("error-401-unauthorized_credentials.json")),
        peer::json(429, &fixture("error-429-too_many_requests.json")),
        peer::json(500, &echo.to_string()),
        peer::json(302, &success),
        answer(502, "content-type: text/html\r\n", &success),
        // Truncated by a closed connection.
        format!("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{}", &success[..1000]),
        "HTTP/1.1 200 OK\r\ncontent-".to_owned(),
        "nothing like HTTP".to_owned(),
    ]
}

fn sends_token(rpc: Rpc) -> bool {
    !matches!(rpc.example, "totp-migrate" | "recovery-codes-get" | "recovery-codes-rotate")
}

/// A request with every secret that it can carry.
pub fn request(rpc: Rpc) -> Value {
    let mut request = (rpc.request)("fresh");
    let fields = request.as_object_mut().unwrap();
    let [intermediate, token, jwt] = TOKENS;
    let own: &[(&str, Value)] = match rpc.example {
        "totp-authenticate" => &[("code", json!(CODE))],
        "totp-migrate" => {
            &[("secret", json!(MIGRATED)), ("recovery_codes", json!([RECOVERY_CODE]))]
        }
        "recovery-codes-recover" => &[("recovery_code", json!(RECOVERY_CODE))],
        _ => &[],
    };
    fields.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    if sends_token(rpc) {
        fields.insert("session_token".into(), json!(token));
        fields.insert("session_jwt".into(), json!(jwt));
        if rpc.example != "member-totp-delete" {
            fields.insert("intermediate_session_token".into(), json!(intermediate));
        }
    }
    request
}

/// Returns everything that must not be printed.
pub fn secrets() -> Vec<String> {
    let basic = data_encoding::BASE64.encode(format!("project-test-1:{STYTCH_SECRET}").as_bytes());
    let mut secrets = vec![STYTCH_SECRET.to_owned(), basic];
    secrets.extend(TOKENS.map(ToOwned::to_owned));
    secrets.extend([CODE, RECOVERY_CODE, MIGRATED].map(ToOwned::to_owned));
    for rpc in Rpc::ALL {
        let answer: Value =
            serde_json::from_str(&fixture(&format!("{}.response.json", rpc.example))).unwrap();
        let text = |key: &str| answer[key].as_str().map(ToOwned::to_owned);
        secrets.extend(["secret", "session_token", "session_jwt"].into_iter().filter_map(text));
        secrets.extend(text("qr_code").map(|it| it.rsplit(',').next().unwrap()[..40].to_owned()));
        let codes = answer["recovery_codes"].as_array().into_iter().flatten();
        secrets.extend(codes.map(|code| code.as_str().unwrap().to_owned()));
    }
    assert!(secrets.len() > 40, "every kind was found");
    secrets
}

/// A credential for the receiver of traces.
const OTLP_TOKEN: &str = "otlp-token-never-printed";

/// Every span that is sent, as text.
fn text_of(receiver: &Receiver) -> String {
    receiver.spans().iter().map(|span| format!("{span:?}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_success_and_every_failure_hold_no_secret() {
    for (protocol, shows_ids) in [(Protocol::Grpc, "false"), (Protocol::Http, "true")] {
        let receiver = Receiver::start(protocol).await;
        let all: Vec<_> = Rpc::ALL.iter().flat_map(|rpc| answers(*rpc)).collect();
        let script = all.clone();
        let peer = Peer::start(move |mut connection| {
            let answer = script[(connection.number - 1) % script.len()].clone();
            async move {
                connection.request().await;
                connection.send(answer.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
            }
        })
        .await;
        let mut command = serve(&format!("http://{}", peer.addr), STYTCH_SECRET);
        let protocol = if protocol == Protocol::Grpc { "grpc" } else { "http/protobuf" };
        command
            .args(["--drain-delay", "0s", "--log", "trace"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.addr))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{OTLP_TOKEN}"))
            .env("TOTP_FACADE_TRACE_IDS", shows_ids);
        let (server, url) = start(command);
        let channel = tonic::transport::Channel::from_shared(url).unwrap().connect().await.unwrap();

        while peer.connections() < all.len() {
            let rpc = Rpc::ALL[peer.connections() / (all.len() / Rpc::ALL.len())];
            let _ = rpc.with(channel.clone(), request(rpc)).await;
        }
        drop(channel);
        server.signal("TERM");
        let (code, stdout, stderr) = server.end();

        assert_eq!(code, Some(0), "{stderr}");
        let spans = text_of(&receiver);
        assert!(receiver.spans().len() > 2 * all.len() - 10, "attempts and their calls");
        assert!(spans.contains("brand_new"), "the type of an error is shown");
        assert_none_in(&[("spans", &spans), ("stdout", &stdout), ("stderr", &stderr)]);
        assert!(!stderr.contains(OTLP_TOKEN) && !stdout.contains(OTLP_TOKEN));
        receiver.each(|got| {
            assert_eq!(got.headers["authorization"], format!("Bearer {OTLP_TOKEN}"));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_trace_level_through_success_and_every_failure_prints_no_secret() {
    for (format, rpcs) in [("text", &Rpc::ALL[..4]), ("json", &Rpc::ALL[3..])] {
        let all: Vec<_> = rpcs.iter().flat_map(|rpc| answers(*rpc)).collect();
        let script = all.clone();
        let peer = Peer::start(move |mut connection| {
            // Each call has its own connection, whose number selects the response. Reads are
            // retried.
            let answer = script[(connection.number - 1) % script.len()].clone();
            async move {
                connection.request().await;
                connection.send(answer.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await;
            }
        })
        .await;
        let mut command = serve(&format!("http://{}", peer.addr), STYTCH_SECRET);
        command.args(["--drain-delay", "0s", "--log-format", format, "--log", "trace"]);
        let (server, url) = start(command);
        let channel = tonic::transport::Channel::from_shared(url).unwrap().connect().await.unwrap();

        let mut ok = 0;
        while peer.connections() < all.len() {
            let rpc = rpcs[peer.connections() / (all.len() / rpcs.len())];
            ok += usize::from(rpc.with(channel.clone(), request(rpc)).await.is_ok());
        }
        let mut invalid = request(Rpc::CREATE);
        invalid["session_token"] = json!(format!("{}\n", TOKENS[1]));
        Rpc::CREATE.with(channel, invalid).await.expect_err("a control character");

        server.signal("TERM");
        let (code, stdout, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(ok >= 2 * rpcs.len() - 1, "{ok} successes");
        assert!(stderr.len() > 10_000, "tracing was on");
        assert!(stderr.contains("member.created_at"), "the odd field is named");
        assert_none_in(&[("stdout", &stdout), ("stderr", &stderr)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_of_a_caller_good_or_bad_is_in_a_log_or_a_status() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (token, line) = token_line("login");
    let (signer, stranger) = (Issuing::new("one"), Issuing::new("one"));
    let (certificate, key) = authority.certify(&["dns:localhost"], false);
    let peer = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let mut command = serve(&format!("http://{}", peer.addr), STYTCH_SECRET);
    command
        .args(["--drain-delay", "0s", "--log", "trace"])
        .args([
            "--trust-xfcc-from",
            "10.0.0.0/8",
            "--jwt-issuer",
            ISSUER,
            "--jwt-audience",
            AUDIENCE,
        ])
        .arg("--tls-cert-file")
        .arg(folder.write("server.pem", &certificate))
        .arg("--tls-key-file")
        .arg(folder.write("server.key", &key))
        .arg("--tls-client-ca-file")
        .arg(folder.write("clients.pem", &authority.certificate.pem()))
        .arg("--tokens-file")
        .arg(folder.write("tokens", &line))
        .arg("--jwt-keys")
        .arg(folder.write("jwks.json", &jwks(&[&signer])));
    let mut server = Server::start(command);
    let addr = server.addr("grpc");
    let connect = async |identity| authority.endpoint(addr, identity).connect().await.unwrap();
    let (plain, certified) =
        (connect(None).await, connect(Some(authority.identity(&["dns:login"]))).await);
    (Rpc::CREATE.try_for(certified, "fresh")).await.expect("the certificate is good");
    let given = [
        (token.to_string(), true),
        ("bad-token-never-printed".into(), false),
        (signer.sign(&json!({})), true),
        (signer.sign(&json!({"exp": 1_600_000_000})), false),
        (stranger.sign(&json!({})), false),
        ("e30.e30.never-printed-signature".into(), false),
    ];

    for (token, good) in &given {
        let mut request = tonic::Request::new((Rpc::CREATE.request)("fresh"));
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let answer = (Rpc::CREATE.call)(plain.clone(), request).await;
        assert_eq!(answer.is_ok(), *good);
        assert!(answer.is_ok() || !format!("{answer:?}").contains(token));
    }

    server.signal("TERM");
    let (_, stdout, stderr) = server.end();
    assert!(stderr.len() > 10_000 && stderr.contains("rustls"), "tracing was on");
    // A JWT is useless without its signature.
    let parts = given.iter().filter_map(|(token, _)| token.rsplit('.').next());
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    for secret in parts.chain(lines).filter(|it| it.len() > 8).chain([STYTCH_SECRET]) {
        assert!(!stderr.contains(secret) && !stdout.contains(secret), "{secret}");
    }
}

#[test]
fn problems_with_a_file_of_secrets_are_reported_without_them() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (certificate, key) = authority.certify(&["dns:localhost"], false);
    let line = key.lines().nth(1).unwrap();
    for (broken, reason) in [
        (key.replace("-----END", "----END"), "without an end"),
        (key.replace(line, &format!("{line}!")), "not base64"),
        (key.replace(line, &line[..line.len() - 4]), "a part is missing"),
        (authority.certify(&["dns:localhost"], false).1, "of another certificate"),
        (line.to_owned(), "not PEM"),
    ] {
        let files = Files {
            certificate: folder.write("server.pem", &certificate),
            key: folder.write("server.key", &broken),
            client_ca: None,
        };

        let error = files.load().expect_err(reason);

        assert!(error.contains("server.key"), "{reason}: {error}");
        for line in broken.lines().filter(|line| !line.starts_with("--")) {
            assert!(!error.contains(line), "{reason}: {error}");
        }
    }
}

/// Asserts that no line of these streams contains a secret.
#[track_caller]
pub fn assert_none_in(streams: &[(&str, &str)]) {
    for secret in secrets() {
        for (stream, text) in streams {
            let line = text
                .lines()
                .find(|line| line.split(&secret).count() > 1 && !is_time(line, &secret));
            assert!(line.is_none(), "{secret} on {stream}: {line:?}");
        }
    }
}

/// Whether each occurrence of the passcode is part of a longer number, such as a timestamp.
fn is_time(line: &str, secret: &str) -> bool {
    secret == CODE
        && line.match_indices(secret).all(|(at, _)| {
            let digit_or_dot = |c: char| c.is_ascii_digit() || c == '.';
            line[..at].ends_with(digit_or_dot)
                || line[at + secret.len()..].starts_with(digit_or_dot)
        })
}

#[test]
fn debug_of_the_messages_hides_every_secret() {
    macro_rules! debug {
        ($message:ty, $json:expr) => {
            format!("{:?}", message::<$message>(&$json.to_string()))
        };
    }
    use recovery_codes::v1 as codes;
    use totp::v1 as totps;
    let example = |rpc: Rpc| -> Value {
        serde_json::from_str(&fixture(&format!("{}.response.json", rpc.example))).unwrap()
    };
    let connection =
        ActiveScimConnection { bearer_token_last_four: "4f2e".into(), ..Default::default() };

    let text = [
        debug!(totps::CreateRequest, request(Rpc::CREATE)),
        debug!(totps::CreateResponse, example(Rpc::CREATE)),
        debug!(totps::AuthenticateRequest, request(Rpc::AUTHENTICATE)),
        debug!(totps::AuthenticateResponse, example(Rpc::AUTHENTICATE)),
        debug!(totps::MigrateRequest, request(Rpc::MIGRATE)),
        debug!(totps::MigrateResponse, example(Rpc::MIGRATE)),
        debug!(totps::DeleteRequest, request(Rpc::DELETE)),
        debug!(codes::GetResponse, example(Rpc::GET)),
        debug!(codes::RotateResponse, example(Rpc::ROTATE)),
        debug!(codes::RecoverRequest, request(Rpc::RECOVER)),
        debug!(codes::RecoverResponse, example(Rpc::RECOVER)),
        format!("{connection:#?}"),
    ]
    .concat();

    for secret in secrets() {
        assert!(!text.contains(&secret), "{secret} in {text}");
    }
    assert!(!text.contains("4f2e"), "{text}");
    assert!(text.contains("ada@example.com"), "the rest is shown");
}

#[test]
fn debug_of_the_settings_hides_the_secret() {
    let setup = crate::support::Setup::new("127.0.0.1:1".parse().unwrap());
    let client = totp_facade::stytch::Client::new(&setup.stytch, &Metrics::default()).unwrap();

    let text = format!("{:?} {client:?}", setup.stytch);

    assert!(!text.contains("not-a-real-secret"), "{text}");
    assert!(!text.contains("Basic "), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn serve_leaves_no_core_files() {
    let mut command = serve("http://127.0.0.1:1", STYTCH_SECRET);
    command.args(["--drain-delay", "0s"]);
    let (server, _) = start(command);

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();

    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let limits: Vec<_> =
        core.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(limits, ["0", "0"], "{core}");
}
