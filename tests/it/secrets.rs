//! Secrets appear in responses to the caller and nowhere else.

use std::{net::SocketAddr, process::Command};

use serde_json::{Value, json};
use tonic::transport::Channel;
use totp_facade::{
    access::token_line,
    connection::tls::Files,
    otlp::Protocol,
    proto::stytch::b2b::{organization::v1::ActiveScimConnection, recovery_codes, totp},
    telemetry::metrics::Metrics,
};

use crate::support::{
    channel,
    credentials::{AUDIENCE, Authority, ISSUER, Issuing, jwks},
    fixture,
    folder::Folder,
    otlp::Receiver,
    peer::{self, Peer, answer},
    process::{Server, run, serve, start},
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

/// What callers make up: in names, in headers, and in what they pass on about their traces.
const MADE_UP: &str = "made-up-never-printed";

/// The ids of organizations, members and registrations in requests and responses.
fn ids() -> Vec<String> {
    let mut ids = vec!["example-works".to_owned(), "fresh".to_owned()];
    for rpc in Rpc::ALL {
        let answer: Value =
            serde_json::from_str(&fixture(&format!("{}.response.json", rpc.example))).unwrap();
        let keys = ["organization_id", "member_id", "totp_registration_id"];
        ids.extend(keys.iter().filter_map(|key| answer[key].as_str().map(ToOwned::to_owned)));
    }
    assert!(ids.len() > 10, "{ids:?}");
    ids
}

/// Everything that a façade tells others, apart from its callers.
struct Told {
    stdout: String,
    stderr: String,
    text: String,
    open_metrics: String,
    /// What `top` shows.
    screen: String,
    spans: String,
    /// How many calls succeeded.
    successes: usize,
}

impl Told {
    /// Calls `rpcs` through success and every failure, and through refusals, of a façade with
    /// `settings`.
    async fn by(rpcs: &[Rpc], settings: impl FnOnce(&mut Command)) -> Self {
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
        command.args(["--drain-delay", "0s", "--log", "trace,access=info"]);
        settings(&mut command);
        let (mut server, url) = start(command);
        let channel = channel(&url).await;

        let (mut successes, mut calls) = (0, 0);
        while peer.connections() < all.len() {
            let rpc = rpcs[peer.connections() / (all.len() / rpcs.len())];
            successes += usize::from((rpc.call)(channel.clone(), call(rpc, calls)).await.is_ok());
            calls += 1;
        }
        be_refused(channel, &url).await;

        let admin = server.addr("admin");
        let (text, open_metrics) = (
            page(admin, "text/plain").await,
            page(admin, "application/openmetrics-text; version=1.0.0").await,
        );
        let top = move || run(&["top", "--once", "--admin-addr", &admin.to_string()]);
        let screen = tokio::task::spawn_blocking(top).await.unwrap();
        let screen = String::from_utf8(screen.stdout).unwrap();
        server.signal("TERM");
        let (code, stdout, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        let spans = String::new();
        let told = Self { stdout, stderr, text, open_metrics, screen, spans, successes };
        told.assert_complete(calls);
        told
    }

    /// Asserts that there is something to search.
    fn assert_complete(&self, calls: usize) {
        assert!(self.stderr.len() > 10_000, "tracing was on");
        assert!(self.access().len() > calls, "the access log was on");
        assert!(self.text.contains("error_type=\"other\"} "), "{}", self.text);
        assert!(self.screen.contains("TotpService/"), "{}", self.screen);
    }

    fn access(&self) -> Vec<&str> {
        let is_access =
            |line: &&str| line.contains("\"target\":\"access\"") || line.contains(" access: ");
        self.stderr.lines().filter(is_access).collect()
    }

    /// Asserts that a secret is nowhere, and that what callers make up is nowhere but in the state
    /// of a trace, which is theirs.
    #[track_caller]
    fn assert_without_secrets(&self) {
        let Self { stdout, stderr, text, open_metrics, screen, spans, .. } = self;
        let streams = [
            ("standard output", stdout),
            ("standard error", stderr),
            ("the metrics", text),
            ("the metrics with exemplars", open_metrics),
            ("the screen of top", screen),
            ("the spans", spans),
        ]
        .map(|(name, text)| (name, text.as_str()));
        assert_none_in(&streams);
        for secret in [OTLP_TOKEN, MADE_UP] {
            for (name, text) in streams {
                let line = text.lines().find(|line| line.contains(secret));
                assert!(line.is_none(), "{secret} in {name}: {line:?}");
            }
        }
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        let line = stderr.lines().find(|line| line.contains(control));
        assert!(line.is_none(), "a control character: {line:?}");
    }

    /// Asserts that ids are nowhere but in other log lines, and perhaps in the spans.
    #[track_caller]
    fn assert_without_ids(&self, are_in_spans: bool) {
        let access = self.access().join("\n");
        for id in ids() {
            for (name, text) in [
                ("the metrics", &self.text),
                ("the metrics with exemplars", &self.open_metrics),
                ("the screen of top", &self.screen),
                ("the access log", &access),
                ("the spans", if are_in_spans { &self.text } else { &self.spans }),
            ] {
                let line = text.lines().find(|line| line.contains(&id));
                assert!(line.is_none(), "{id} in {name}: {line:?}");
            }
        }
        assert_eq!(self.spans.contains("example-works"), are_in_spans);
    }
}

/// A call with every secret that it can carry, in a trace of its caller's.
fn call(rpc: Rpc, number: usize) -> tonic::Request<Value> {
    let mut call = tonic::Request::new(request(rpc));
    let metadata = call.metadata_mut();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    metadata.insert("traceparent", traceparent.parse().unwrap());
    // Not valid, so it is not taken: its control character would be one to a terminal.
    let state = [b"made=up\x9b31m", MADE_UP.as_bytes()].concat();
    metadata.insert("tracestate", state.as_slice().try_into().unwrap());
    metadata.insert("baggage", state.as_slice().try_into().unwrap());
    metadata.insert("x-request-id", MADE_UP.parse().unwrap());
    if number.is_multiple_of(2) {
        metadata.insert("idempotency-key", format!("key-{number}").parse().unwrap());
    }
    call
}

/// Makes requests that are refused: an invalid one, one to a method that is not served, and one
/// that is not gRPC.
async fn be_refused(channel: Channel, url: &str) {
    let mut invalid = request(Rpc::CREATE);
    invalid["session_token"] = json!(format!("{}\n", TOKENS[1]));
    Rpc::CREATE.with(channel.clone(), invalid).await.expect_err("a control character");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::try_from(format!("/{MADE_UP}/{MADE_UP}")).unwrap();
    let codec =
        tonic_prost::ProstCodec::<totp::v1::CreateRequest, totp::v1::CreateResponse>::default();
    let request = tonic::Request::new(totp::v1::CreateRequest::default());
    grpc.unary(request, path, codec).await.expect_err("no such method");
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = client.post(format!("{url}/{MADE_UP}?token={MADE_UP}")).bearer_auth(MADE_UP);
    assert!(!request.send().await.unwrap().status().is_success(), "it is not gRPC");
}

/// Reads the page of metrics.
async fn page(admin: SocketAddr, accept: &str) -> String {
    let request = reqwest::Client::new().get(format!("http://{admin}/metrics"));
    request.header("accept", accept).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_success_and_every_failure_hold_no_secret() {
    for (protocol, shows_ids) in [(Protocol::Grpc, false), (Protocol::Http, true)] {
        let receiver = Receiver::start(protocol).await;
        let protocol = if protocol == Protocol::Grpc { "grpc" } else { "http/protobuf" };

        let mut told = Told::by(&Rpc::ALL, |command| {
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.addr))
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{OTLP_TOKEN}"))
                .env("TOTP_FACADE_TRACE_IDS", shows_ids.to_string());
        })
        .await;

        assert!(told.open_metrics.contains(" # {trace_id="), "{}", told.open_metrics);
        told.spans = receiver.spans().iter().map(|span| format!("{span:?}\n")).collect();
        let attempts = Rpc::ALL.iter().flat_map(|rpc| answers(*rpc)).count();
        assert!(receiver.spans().len() > 2 * attempts - 10, "attempts and their calls");
        for part in ["brand_new", "idempotency claim", "idempotency record", "_OTHER"] {
            assert!(told.spans.contains(part), "no {part} in the spans");
        }
        told.assert_without_secrets();
        told.assert_without_ids(shows_ids);
        receiver.each(|got| {
            assert_eq!(got.headers["authorization"], format!("Bearer {OTLP_TOKEN}"));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_trace_level_through_success_and_every_failure_prints_no_secret() {
    for (format, rpcs) in [("text", &Rpc::ALL[..4]), ("json", &Rpc::ALL[3..])] {
        let told = Told::by(rpcs, |command| {
            command.args(["--log-format", format]);
        })
        .await;

        assert!(told.successes >= 2 * rpcs.len() - 1, "{} successes", told.successes);
        assert!(told.stderr.contains("member.created_at"), "the odd field is named");
        told.assert_without_secrets();
        told.assert_without_ids(false);
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
