//! Log lines: whose they are, how often they are logged, and the access log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use futures_util::{StreamExt as _, future::join_all, stream};
use http::uri::PathAndQuery;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::{Notify, mpsc},
    time::timeout,
};
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};
use totp_facade::access::token_line;

use crate::{
    secrets::STYTCH_SECRET,
    support::{
        Closed, PATIENCE, channel, fixture,
        folder::Folder,
        frames,
        peer::{self, Peer},
        process::{Server, serve},
        rpc::Rpc,
        scrape,
    },
};

/// A façade that runs as a process and knows two callers by their tokens.
struct Facade {
    server: Server,
    admin: SocketAddr,
    url: String,
    channel: Channel,
    login: String,
    reader: String,
    _folder: Folder,
}

/// What the callers may do.
const POLICY: &str = "
[[caller]]
name = 'login'
identities = ['token:login']
methods = ['TotpService/*', 'reflection']

[[caller]]
name = 'reader'
identities = ['token:reader']
methods = ['RecoveryCodesService/Get']
rate = { per_second = 1, burst = 1 }
";

impl Facade {
    async fn start(upstream: SocketAddr, flags: &[&str]) -> Self {
        let folder = Folder::new();
        let [login, reader] = ["login", "reader"].map(token_line);
        let tokens = folder.write("tokens", &format!("{}\n{}\n", login.1, reader.1));
        let policy = folder.write("callers.toml", POLICY);
        let mut command = serve(&format!("http://{upstream}"), STYTCH_SECRET);
        command.args(["--drain-delay", "0s"]).args(flags);
        command.env("TOTP_FACADE_TOKENS_FILE", tokens).env("TOTP_FACADE_CALLERS_FILE", policy);
        let mut server = Server::start(command);
        let (url, admin) = (format!("http://{}", server.addr("grpc")), server.addr("admin"));
        let channel = channel(&url).await;
        let [login, reader] = [login, reader].map(|(token, _)| (*token).clone());
        Self { server, admin, url, channel, login, reader, _folder: folder }
    }

    /// Adds a token to a request.
    fn by<T>(token: &str, mut request: Request<T>) -> Request<T> {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    }

    /// Makes a call in the trace of this number.
    async fn call(&self, trace: u32, rpc: Rpc, request: Request<Value>) -> Result<(), Status> {
        let request = traced(trace, Self::by(&self.login, request));
        (rpc.call)(self.channel.clone(), request).await.map(drop)
    }

    async fn health(&self, trace: u32) {
        let request = traced(trace, Request::new(HealthCheckRequest::default()));
        HealthClient::new(self.channel.clone()).check(request).await.expect("it serves");
    }

    async fn reflection(&self, trace: u32) {
        let ask = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let asks = Request::new(stream::once(async { ask }).chain(stream::pending()));
        let asks = traced(trace, Self::by(&self.login, asks));
        let mut client = ServerReflectionClient::new(self.channel.clone());
        let answers = client.server_reflection_info(asks).await.expect("an answer");
        answers.into_inner().message().await.expect("an answer").expect("a message");
    }

    /// Calls a method by its path, which fails.
    async fn other(&self, trace: u32, path: &'static str) -> Status {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let request =
            traced(trace, Self::by(&self.login, Request::new(HealthCheckRequest::default())));
        let path = PathAndQuery::from_static(path);
        grpc.unary(request, path, codec).await.expect_err("no such method")
    }

    async fn metric(&self, sample: &str) -> f64 {
        scrape::page(self.admin).await.value(sample).unwrap()
    }

    async fn suppressed(&self) -> f64 {
        self.metric("totp_facade_log_lines_suppressed_total").await
    }

    /// Returns how many calls of Create were left by their callers.
    async fn cancelled(&self) -> f64 {
        let labels = "grpc_type=\"unary\",grpc_service=\"stytch.b2b.totp.v1.TotpService\",\
                      grpc_method=\"Create\",grpc_code=\"Canceled\"";
        let sample = format!("grpc_server_handled_total{{{labels}}}");
        scrape::page(self.admin).await.value(&sample).unwrap_or_default()
    }

    /// Stops it, and returns what it wrote to standard error.
    fn end(self) -> String {
        let Self { server, channel, .. } = self;
        drop(channel);
        server.signal("TERM");
        let (code, _, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        stderr
    }
}

/// The id of the trace of this number.
fn trace_id(trace: u32) -> String {
    format!("{trace:032x}")
}

/// Puts a request in the trace of this number.
fn traced<T>(trace: u32, mut request: Request<T>) -> Request<T> {
    let parent = format!("00-{}-00f067aa0ba902b7-01", trace_id(trace));
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

fn json(stderr: &str) -> Vec<Value> {
    stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A success of each method that changes something.
const ANSWER: &str =
    r#"{"secret": "S", "session_token": "S", "totp_registration_id": "S", "member_id": "S"}"#;

/// Stytch, which answers by the member. The call for `gone` is announced, and answered at a
/// notification.
async fn stytch() -> (Peer, mpsc::UnboundedReceiver<()>, Arc<Notify>) {
    let (announce, announced) = mpsc::unbounded_channel();
    let answer = Arc::new(Notify::new());
    let told = Arc::clone(&answer);
    let refusal = fixture("error-400-active_totp_exists.json");
    let peer = Peer::start(move |mut connection| {
        let (announce, told, refusal) = (announce.clone(), Arc::clone(&told), refusal.clone());
        async move {
            let mut reads = 0;
            while let Some(request) = connection.next().await {
                let whom = format!("{} {}", request.line(), request.body);
                let answer = match ["GET ", "odd", "refused", "failed", "gone"]
                    .map(|it| whom.contains(it))
                {
                    [true, ..] => {
                        reads += 1;
                        match reads % 2 {
                            1 => peer::json(503, ""),
                            _ => peer::json(200, Rpc::GET.answer),
                        }
                    }
                    [_, true, ..] => {
                        peer::json(200, r#"{"secret": "S", "qr_code": 1, "status_code": "x"}"#)
                    }
                    [_, _, true, ..] => peer::json(400, &refusal),
                    [_, _, _, true, _] => peer::json(500, ""),
                    [.., true] => {
                        announce.send(()).unwrap();
                        told.notified().await;
                        peer::json(200, Rpc::CREATE.answer)
                    }
                    _ => peer::json(200, ANSWER),
                };
                connection.send(answer).await;
            }
        }
    })
    .await;
    (peer, announced, answer)
}

/// Makes a call whose caller goes away before Stytch answers.
async fn gone(
    facade: &Facade,
    trace: u32,
    request: Request<Value>,
    announced: &mut mpsc::UnboundedReceiver<()>,
    answer: &Notify,
) {
    let request = traced(trace, Facade::by(&facade.login, request));
    let call = tokio::spawn((Rpc::CREATE.call)(facade.channel.clone(), request));
    timeout(PATIENCE, announced.recv()).await.expect("it is sent").unwrap();
    let before = facade.cancelled().await;
    call.abort();
    let _ = call.await;
    let start = Instant::now();
    while facade.cancelled().await == before {
        assert!(start.elapsed() < PATIENCE, "the call goes on");
    }
    answer.notify_one();
}

fn create(member: &str) -> Request<Value> {
    Request::new((Rpc::CREATE.request)(member))
}

/// Makes calls of all kinds. Returns, by trace, the method, the caller, and what is logged of each.
async fn calls(
    facade: &Facade,
    mut announced: mpsc::UnboundedReceiver<()>,
    answer: &Notify,
) -> BTreeMap<String, (&'static str, &'static str, Vec<&'static str>)> {
    const ENDED: &str = "call ended";
    const RESPONDED: &str = "Stytch responded";
    let (totp, login) = (Rpc::CREATE.name, "login");
    facade.call(1, Rpc::CREATE, create("fresh")).await.expect("an answer");
    facade.call(2, Rpc::CREATE, create("")).await.expect_err("it is invalid");
    let read = Request::new((Rpc::GET.request)("fresh"));
    let read = traced(3, Facade::by(&facade.reader, read));
    (Rpc::GET.call)(facade.channel.clone(), read).await.expect("an answer");
    for trace in [4, 5] {
        let request = Rpc::CREATE.keyed_request("fresh", "key");
        facade.call(trace, Rpc::CREATE, request).await.expect("an answer");
    }
    facade.call(6, Rpc::CREATE, create("odd")).await.expect("an answer");
    facade.call(7, Rpc::CREATE, create("refused")).await.expect_err("a refusal");
    for (trace, key) in [(8, None), (9, Some("gone"))] {
        let mut request = create("gone");
        if let Some(key) = key {
            request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
        }
        gone(facade, trace, request, &mut announced, answer).await;
    }
    facade.other(10, "/made.up.Service/Method").await;
    facade.health(11).await;
    facade.reflection(12).await;
    let request = traced(13, Facade::by("made-up", create("fresh")));
    (Rpc::CREATE.call)(facade.channel.clone(), request).await.expect_err("unknown");
    BTreeMap::from([
        (1, (totp, login, vec![ENDED, RESPONDED])),
        (2, (totp, login, vec![ENDED, "call refused"])),
        (3, (Rpc::GET.name, "reader", vec![ENDED, RESPONDED, "retrying the call to Stytch"])),
        (4, (totp, login, vec![ENDED, RESPONDED])),
        (5, (totp, login, vec![ENDED])),
        (
            6,
            (
                totp,
                login,
                vec![ENDED, RESPONDED, "left unset: Stytch sent a value of an unexpected type"],
            ),
        ),
        (7, (totp, login, vec![ENDED, RESPONDED, "upstream call refused"])),
        (8, (totp, login, vec![ENDED, RESPONDED, "call completed after its caller had gone"])),
        (9, (totp, login, vec![ENDED, RESPONDED])),
        (10, ("_OTHER", login, vec![ENDED, "call refused"])),
        (11, ("grpc.health.v1.Health/Check", "unknown", vec![ENDED])),
        (12, ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", login, vec![ENDED])),
        (13, (totp, "unknown", vec![ENDED, "call refused"])),
    ])
    .into_iter()
    .map(|(trace, expected)| (trace_id(trace), expected))
    .collect()
}

/// What is logged outside any call.
const OF_NO_CALL: [&str; 3] = ["serving", "draining", "dropping connection: "];

fn is_of_no_call(line: &str) -> bool {
    OF_NO_CALL.iter().any(|it| line.contains(it))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_call_says_which_call_it_is_also_once_its_caller_has_gone() {
    let (peer, announced, answer) = stytch().await;
    let flags = ["--log-format", "json", "--log", "totp_facade=debug,access=info"];
    let facade = Facade::start(peer.addr, &flags).await;

    let mut expected = calls(&facade, announced, &answer).await;

    let stderr = facade.end();
    let mut traces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in json(&stderr) {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let (message, trace) = (text("message"), text("trace_id"));
        if trace.is_empty() {
            assert!(is_of_no_call(&message), "{line:#}");
            continue;
        }
        let (method, caller, _) = expected.get(&trace).unwrap_or_else(|| panic!("{line:#}"));
        assert_eq!(
            (text("method").as_str(), text("caller").as_str()),
            (*method, *caller),
            "{line:#}"
        );
        assert_eq!(text("span_id").len(), 16, "{line:#}");
        traces.entry(trace).or_default().insert(message);
    }
    for (trace, (method, _, messages)) in &mut expected {
        let messages: BTreeSet<_> = messages.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(traces.get(trace), Some(&messages), "{trace} {method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_call_in_text_says_which_call_it_is() {
    let (peer, announced, answer) = stytch().await;
    let flags = ["--log-format", "text", "--log", "totp_facade=debug,access=info"];
    let facade = Facade::start(peer.addr, &flags).await;

    let expected = calls(&facade, announced, &answer).await;

    let stderr = facade.end();
    for (trace, (method, caller, messages)) in expected {
        let lines: Vec<_> = stderr
            .lines()
            .filter(|it| it.contains(&format!(" trace_id={trace} span_id=")))
            .collect();
        for message in messages {
            assert!(
                lines.iter().any(|line| line.contains(message)),
                "{message} of {method}: {lines:#?}"
            );
        }
        for line in lines {
            let field = |name: &str, value: &str| {
                line.contains(&format!(" {name}={value} "))
                    || line.ends_with(&format!(" {name}={value}"))
                    || line.contains(&format!(" {name}=\"{value}\""))
            };
            assert!(field("method", method) && field("caller", caller), "{line}");
        }
    }
    let calls = stderr.lines().filter(|line| line.contains(" trace_id=")).count();
    let others = stderr.lines().filter(|line| is_of_no_call(line));
    assert_eq!(calls + others.count(), stderr.lines().count(), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_text_stays_one_line_whatever_stytch_sends() {
    let answer = r#"{"error_type": "brand_new", "error_message": "a\nb\rc\u001b[31m\u0085d"}"#;
    let peer = Peer::answering(peer::json(400, answer)).await;
    let facade = Facade::start(peer.addr, &["--log-format", "text"]).await;

    facade.call(1, Rpc::CREATE, create("fresh")).await.expect_err("a refusal");

    let stderr = facade.end();
    assert!(stderr.contains("upstream call refused"), "{stderr}");
    assert!(!stderr.chars().any(|it| it.is_control() && it != '\n'), "{stderr:?}");
    for line in stderr.lines() {
        assert!(
            line.starts_with("20") && line.contains(" totp_facade") || line.contains(" audit: "),
            "{line}"
        );
    }
}

/// Returns the published schema of an access line.
fn schema() -> jsonschema::Validator {
    let page = include_str!("../../docs/logs.md");
    let schema = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
}

/// Code, reason, method and upstream of an access line.
fn gist(line: &Value) -> [String; 4] {
    ["code", "reason", "method", "upstream"]
        .map(|it| line[it].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_a_line_for_each_call_in_the_published_form() {
    let (peer, mut announced, answer) = stytch().await;
    let flags = ["--log-format", "json", "--log", "info,access=info"];
    let facade = Facade::start(peer.addr, &flags).await;
    let (totp, get) = (Rpc::CREATE.name, Rpc::GET.name);
    let mut expected = Vec::new();
    let mut expect =
        |code, reason, method, upstream| expected.push([code, reason, method, upstream]);
    for rpc in Rpc::mutating().filter(|rpc| rpc.name.contains("Totp")) {
        let _ = facade.call(1, rpc, Request::new((rpc.request)("fresh"))).await;
        expect("OK", "", rpc.name, "done");
    }
    for _ in 0..2 {
        let request = Rpc::CREATE.keyed_request("fresh", "key");
        facade.call(1, Rpc::CREATE, request).await.expect("an answer");
        expect("OK", "", totp, "done");
    }
    for (member, code, reason, upstream) in [
        ("", "INVALID_ARGUMENT", "INVALID_REQUEST", "not_sent"),
        ("refused", "ALREADY_EXISTS", "ACTIVE_TOTP_EXISTS", "rejected"),
        ("failed", "UNKNOWN", "OUTCOME_UNKNOWN", "unknown"),
    ] {
        facade.call(1, Rpc::CREATE, create(member)).await.expect_err("a failure");
        expect(code, reason, totp, upstream);
    }
    let read = || Request::new((Rpc::GET.request)("fresh"));
    (Rpc::GET.call)(facade.channel.clone(), Facade::by(&facade.reader, read())).await.unwrap();
    expect("OK", "", get, "done");
    for (rpc, request, code, reason) in [
        (Rpc::CREATE, create("fresh"), "UNAUTHENTICATED", "CALLER_UNKNOWN"),
        (Rpc::CREATE, Facade::by("made-up", create("fresh")), "UNAUTHENTICATED", "CALLER_UNKNOWN"),
        (Rpc::GET, Facade::by(&facade.login, read()), "PERMISSION_DENIED", "CALLER_NOT_ALLOWED"),
        (Rpc::GET, Facade::by(&facade.reader, read()), "RESOURCE_EXHAUSTED", "CALLER_RATE_LIMITED"),
        (
            Rpc::CREATE,
            Facade::by(&facade.login, with(create("fresh"), "x", &"x".repeat(17_000))),
            "OUT_OF_RANGE",
            "REQUEST_TOO_LARGE",
        ),
        (
            Rpc::CREATE,
            Facade::by(&facade.login, create(&"x".repeat(17_000))),
            "OUT_OF_RANGE",
            "REQUEST_TOO_LARGE",
        ),
    ] {
        (rpc.call)(facade.channel.clone(), request).await.expect_err("a refusal");
        expect(code, reason, rpc.name, "not_sent");
    }
    facade.other(1, "/made.up.Service/Method").await;
    expect("PERMISSION_DENIED", "CALLER_NOT_ALLOWED", "_OTHER", "");
    facade.other(1, "/grpc.health.v1.Health/Made").await;
    expect("UNIMPLEMENTED", "UNIMPLEMENTED", "_OTHER", "");
    facade.health(1).await;
    expect("OK", "", "grpc.health.v1.Health/Check", "");
    facade.reflection(1).await;
    expect("OK", "", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "");
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    client.get(format!("{}/nothing", facade.url)).send().await.unwrap();
    expect("UNKNOWN", "", "_OTHER", "");
    // A client of gRPC would give up by itself.
    let late = client.post(format!("{}/{totp}", facade.url)).header("grpc-timeout", "1n");
    late.header("content-type", "application/grpc").send().await.unwrap();
    expect("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", totp, "not_sent");
    gone(&facade, 1, create("gone"), &mut announced, &answer).await;
    expect("CANCELLED", "", totp, "");

    let (schema, stderr) = (schema(), facade.end());

    let lines = json(&stderr).into_iter().filter(|line| line["target"] == "access");
    let lines: Vec<_> = lines.collect();
    for line in &lines {
        if let Err(error) = schema.validate(line) {
            panic!("{error}: {line:#}");
        }
    }
    let expected: Vec<_> = expected.iter().map(|it| it.map(ToOwned::to_owned)).collect();
    assert_eq!(lines.iter().map(gist).collect::<Vec<_>>(), expected);
}

fn with<T>(mut request: Request<T>, name: &'static str, value: &str) -> Request<T> {
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn without_access_in_the_filter_there_is_no_access_log() {
    let (peer, ..) = stytch().await;
    for filter in
        ["info", "debug", "trace", "totp_facade=trace", "info,access=off", "accessible=info"]
    {
        let facade = Facade::start(peer.addr, &["--log-format", "json", "--log", filter]).await;
        facade.call(1, Rpc::CREATE, create("fresh")).await.expect("an answer");
        facade.health(1).await;

        let lines = json(&facade.end());

        assert!(lines.iter().all(|line| line["target"] != "access"), "{filter}");
    }
}

/// The lines at `info` and above that are neither events nor about the whole process, by message.
fn counted(stderr: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in json(stderr) {
        let is_quiet = matches!(line["level"].as_str(), Some("DEBUG" | "TRACE"));
        let message = line["message"].as_str().unwrap_or_default();
        if !is_quiet && line["target"] != "audit" && !is_of_no_call(message) {
            let is_limited = line["suppressed"].is_u64() || message.starts_with("circuit breaker");
            assert!(is_limited, "{line:#}");
            *counts.entry(message.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_logged_with_their_reason_at_a_bounded_rate_and_the_rest_counted() {
    const CALLS: usize = 200;
    let (peer, ..) = stytch().await;
    let facade = Facade::start(peer.addr, &["--log-format", "json"]).await;
    let start = Instant::now();
    for number in 0..CALLS {
        let request = Facade::by(&format!("made-up-{number}"), create("fresh"));
        let status = (Rpc::CREATE.call)(facade.channel.clone(), request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "call {number}: {status}");
    }
    facade.call(1, Rpc::CREATE, create("")).await.expect_err("it is invalid");
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    let suppressed = facade.suppressed().await;

    let stderr = facade.end();

    let lines: Vec<_> =
        json(&stderr).into_iter().filter(|line| line["message"] == "call refused").collect();
    let (invalid, refused): (Vec<_>, Vec<_>) =
        lines.iter().partition(|it| it["reason"] == "INVALID_REQUEST");
    assert_eq!(invalid.len(), 1, "another reason has a limit of its own");
    assert_eq!(invalid[0]["level"], "INFO");
    assert!((1..=seconds + 1).contains(&refused.len()), "{} in {seconds} s", refused.len());
    assert_eq!(refused.len() as f64 + suppressed, CALLS as f64);
    for line in refused {
        assert_eq!((&line["level"], &line["caller"]), (&"WARN".into(), &"unknown".into()));
        assert_eq!(
            (&line["reason"], &line["code"]),
            (&"CALLER_UNKNOWN".into(), &"UNAUTHENTICATED".into())
        );
        let peer = line["peer"].as_str().unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
        assert!(line["why"].as_str().unwrap().len() > 10, "{line:#}");
        assert!(!line.to_string().contains("made-up"), "{line:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_callers_stytch_and_peers_do_again_and_again_is_logged_at_a_bounded_rate() {
    const TIMES: usize = 100;
    let (peer, mut announced, answer) = stytch().await;
    let facade = Facade::start(peer.addr, &["--log-format", "json"]).await;
    let start = Instant::now();
    for _ in 0..TIMES / 10 {
        gone(&facade, 1, create("gone"), &mut announced, &answer).await;
    }
    for _ in 0..TIMES {
        facade.other(1, "/made.up.Service/Method").await;
    }
    // The last kind opens the circuit breaker.
    for member in ["", "odd", "refused", "failed"] {
        let calls = (0..TIMES).map(|_| facade.call(1, Rpc::CREATE, create(member)));
        join_all(calls).await;
    }
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for _ in 0..TIMES {
        client.get(format!("{}/nothing", facade.url)).send().await.unwrap();
    }
    // The answer to a ping that nobody sent: a warning of the library.
    let mut stream = TcpStream::connect(facade.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(&frames::start()).await.unwrap();
    stream.write_all(&frames::pong(b"12345678").repeat(TIMES)).await.unwrap();
    stream.write_all(&frames::headers(1, "grpc.health.v1.Health/Check")).await.unwrap();
    stream.write_all(&frames::message(1, b"")).await.unwrap();
    while frames::read(&mut stream).await.expect("an answer").kind != frames::DATA {}
    drop(stream);
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();

    let counts = counted(&facade.end());

    let kinds: Vec<_> = counts.keys().map(String::as_str).collect();
    for kind in [
        "call refused",
        "request refused",
        "upstream call refused",
        "upstream call failed",
        "left unset: Stytch sent a value of an unexpected type",
        "call completed after its caller had gone",
    ] {
        assert!(kinds.contains(&kind), "{kinds:#?}");
    }
    assert!(kinds.iter().any(|kind| kind.contains("PING")), "{kinds:#?}");
    for (message, count) in &counts {
        // Two reasons, and two callers.
        let most = 4 * (seconds + 1);
        assert!(*count <= most, "{count} times {message} in {seconds} s");
        assert!(most < TIMES, "the machine is too slow");
    }
}

/// Every line that `src/` logs at `info` or above: its file, and the source of its macro.
fn statements() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) =
        (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // The sandbox is for development.
                if !path.ends_with("sandbox") {
                    folders.push(path);
                }
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let source = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            for level in ["info", "warn", "error"] {
                for (at, _) in source.match_indices(&format!("tracing::{level}!(")) {
                    found.push((path.clone(), statement(&source[at..])));
                }
            }
        }
    }
    found
}

/// The source up to the parenthesis that closes the first.
fn statement(source: &str) -> String {
    let (mut depth, mut is_text) = (0, false);
    let end = source.find(|char| {
        match char {
            '"' => is_text = !is_text,
            '(' if !is_text => depth += 1,
            ')' if !is_text => depth -= 1,
            _ => return false,
        }
        char == ')' && depth == 0
    });
    source[..end.expect("a parenthesis")].to_owned()
}

/// Lines without a limit, and what bounds them.
const UNLIMITED: [(&str, &str); 30] = [
    ("target: telemetry::AUDIT", "an event for each call, by which the trail is complete"),
    ("target: ACCESS", "a line for each call, on request"),
    ("\"serving\"", "once"),
    ("\"draining\"", "once"),
    ("drained; some clients", "once"),
    ("calls are answered before their audit events", "once"),
    ("stopped by a second signal", "once"),
    ("a crash may leave a core file", "once"),
    ("OTEL_EXPORTER_OTLP_HEADERS travel", "once"),
    ("--allow-unauthenticated", "once"),
    ("tokens travel in the clear", "once"),
    ("warn!(\"{what}\"", "once for each variable that has no effect"),
    ("clients refuse the server's certificate", "at the start, and when the operator changes it"),
    ("the last traces could not be sent", "once"),
    ("cannot remove the socket", "once"),
    ("cannot notify the service manager", "at the start, the drain and each heartbeat"),
    ("not watched, only polled", "once for each file"),
    ("idempotency keys are remembered in Redis", "once"),
    ("the idempotency store can be used again", "once after a warning, which has a limit"),
    ("calls with a key are refused until Redis", "once"),
    ("the process ends before Redis", "once"),
    ("idempotency records are evicted", "once"),
    ("\"reloaded\"", "when the operator changes a file"),
    ("reloaded: from now on", "when the operator changes a file"),
    ("cannot be reloaded", "when the operator changes a file"),
    ("the JWKS", "a second passes between two fetches"),
    ("the fetched JWKS", "a second passes between two fetches"),
    ("traces ca", "when it changes whether traces can be sent"),
    ("circuit breaker", "it stays open for two seconds"),
    ("cannot create new ones", "at the age of connections"),
];

#[test]
fn every_line_that_others_can_cause_is_limited() {
    let statements = statements();
    assert!(statements.len() > 35, "{} are found", statements.len());
    let mut unused: BTreeSet<_> = UNLIMITED.iter().map(|(text, _)| *text).collect();

    for (path, statement) in statements {
        let known = UNLIMITED.iter().find(|(text, _)| statement.contains(text));
        match known {
            Some((text, _)) => drop(unused.remove(text)),
            None => assert!(
                statement.contains("suppressed"),
                "{}: no limit:\n{statement}",
                path.display()
            ),
        }
    }
    assert!(unused.is_empty(), "no such line: {unused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_reach_stytch_are_logged_at_a_bounded_rate() {
    let closed = Closed::new();
    let facade = Facade::start(closed.addr, &["--log-format", "json"]).await;
    let start = Instant::now();

    let calls = (0..50).map(|_| facade.call(1, Rpc::CREATE, create("fresh")));
    join_all(calls).await;

    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    for (message, count) in counted(&facade.end()) {
        let most = if message.contains("circuit breaker") { 1 } else { seconds + 1 };
        assert!(count <= most, "{count} times {message} in {seconds} s");
    }
}
