//! The console: what its page can do, and what nobody else can do with it. `.ci/console` drives the
//! page in a browser.

use std::{fs, io::Read as _, path::Path, time::SystemTime};

use flate2::bufread::GzDecoder;
use reqwest::{
    Client, Method, RequestBuilder, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, ORIGIN},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use totp_facade::{access::token_line, proto};

use crate::support::{
    Closed, Deaf,
    credentials::Authority,
    door::{DoorFiles, LOGIN, POLICY},
    folder::Folder,
    process::{Server, dev, program, run, serve},
    rfc6238::code_of,
    sandbox,
};

const CREATE: &str = "stytch.b2b.totp.v1.TotpService/Create";
const AUTHENTICATE: &str = "stytch.b2b.totp.v1.TotpService/Authenticate";

/// The page, as a browser has it open.
struct Page {
    url: String,
    http: Client,
}

impl Page {
    fn of(server: &mut Server) -> Self {
        let url = server.line("console listening on ");
        Self { url, http: Client::builder().no_proxy().build().unwrap() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let response = self.request(Method::GET, path).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, _, text) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, String) {
        let request = self.request(Method::POST, path).header(ORIGIN, &self.url);
        let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Makes a call as the page does.
    async fn call(&self, method: &str, request: Value, key: Option<&str>) -> Value {
        let body = json!({
            "method": method,
            "request": request,
            "deadline_ms": 10_000,
            "idempotency_key": key,
        });
        let (status, text) = self.post("/call", &body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

fn member(id: &str) -> Value {
    json!({"organization_id": "example-works", "member_id": id})
}

/// A request for a member, with more fields.
fn with(id: &str, more: Value) -> Value {
    let mut request = member(id);
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

#[tokio::test]
async fn dev_serves_the_page_and_nothing_of_it_may_be_framed_cached_or_come_from_elsewhere() {
    let (mut server, _) = dev(&[]);
    let page = Page::of(&mut server);

    let (status, headers, text) = page.get("/").await;

    assert_eq!(status, 200);
    assert!(text.starts_with("<!doctype html>"), "{text}");
    for path in ["/", "/style.css", "/contract.json", "/settings.json", "/nothing"] {
        let (_, headers, _) = page.get(path).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(rule), "{path}: {rule}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
    }
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn the_page_knows_the_whole_contract() {
    let (mut server, _) = dev(&[]);
    let contract = Page::of(&mut server).json("/contract.json").await;

    let services = contract["services"].as_array().unwrap();
    let methods = services.iter().flat_map(|it| it["methods"].as_array().unwrap());
    let methods: Vec<_> = methods.collect();
    let names: Vec<_> = methods.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, proto::methods());
    for method in methods {
        let comment = method["comment"].as_str().unwrap();
        assert!(comment.contains("\n\n"), "all paragraphs of {method}");
        for side in ["request", "response"] {
            let message = &contract["messages"][method[side].as_str().unwrap()];
            assert!(!message["fields"].as_array().unwrap().is_empty(), "{side} of {method}");
        }
    }
    let fields = contract["messages"]["stytch.b2b.totp.v1.CreateRequest"]["fields"].as_array();
    let field = |name: &str| fields.unwrap().iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(field("member_id")["required"], true);
    assert_eq!(field("session_token")["secret"], true);
    assert_eq!(
        field("expiration_minutes")["path"],
        "stytch.b2b.totp.v1.CreateRequest.expiration_minutes"
    );
}

/// The most bytes that the page may take before one sees it.
const MAX_FIRST_VIEW: usize = 150_000;

/// The paths that a browser loads with the page: every file is imported by another one.
fn first_view() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/page");
    let mut paths = vec!["/contract.json".to_owned(), "/settings.json".to_owned()];
    for folder in ["", "snippets"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let path = path.strip_prefix(&root).unwrap();
                paths.push(format!("/{}", path.to_str().unwrap()).replace("/index.html", "/"));
            }
        }
    }
    paths
}

#[tokio::test]
async fn all_that_the_first_view_loads_takes_less_than_150_kb_on_the_wire() {
    let (mut server, _) = dev(&[]);
    let page = Page::of(&mut server);
    let paths = first_view();
    assert!(paths.len() > 40, "{paths:?}");

    let mut size = 0;
    for path in paths {
        let plain = page.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(plain.status(), 200, "{path}");
        assert!(!plain.headers().contains_key(CONTENT_ENCODING), "{path}: was not asked for");
        let request = page.request(Method::GET, &path).header(ACCEPT_ENCODING, "gzip, br");
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        size += "HTTP/1.1 200 OK".len() + 4 + lines.sum::<usize>();
        let (body, plain) = (response.bytes().await.unwrap(), plain.bytes().await.unwrap());
        size += body.len();

        let is_compressed = headers.get(CONTENT_ENCODING).is_some_and(|it| it == "gzip");
        assert_eq!(is_compressed, path != "/settings.json", "{path}: what is ours alone");
        if is_compressed {
            let mut text = Vec::new();
            GzDecoder::new(&*body).read_to_end(&mut text).unwrap();
            assert!(text == plain, "{path}: another text");
        }
    }
    assert!(size < MAX_FIRST_VIEW, "{size} bytes");
}

#[tokio::test]
async fn every_method_can_be_called_and_the_authenticator_of_dev_has_the_codes() {
    let (mut server, _) = dev(&[]);
    let page = Page::of(&mut server);
    let authenticator = async |id: &str| {
        let (status, text) = page.post("/authenticator", &json!({"member_id": id})).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(authenticator("fresh").await["code"], Value::Null, "nothing is enrolled yet");

    let created = page.call(CREATE, member("fresh"), Some("console-1")).await;
    assert_eq!(created["ok"], true, "{created}");
    assert_eq!(created["replayed"], false);
    assert!(created["request_id"].as_str().unwrap().starts_with("request-id-"));
    let secret = created["response"]["secret"].as_str().unwrap().to_owned();
    let again = page.call(CREATE, member("fresh"), Some("console-1")).await;
    assert_eq!(again["replayed"], true, "{again}");
    assert_eq!(again["response"], created["response"]);

    let (before, app) = (SystemTime::now(), authenticator("fresh").await);
    let codes = [code_of(&secret, before), code_of(&secret, SystemTime::now())];
    let code = app["code"].as_str().unwrap().to_owned();
    assert!(codes.contains(&code), "{app}");
    assert_eq!(app["is_used"], false);
    assert!((1..=30).contains(&app["seconds_left"].as_u64().unwrap()), "{app}");
    let login =
        with("fresh", json!({"code": code, "intermediate_session_token": "sandbox-login.fresh"}));
    let login = page.call(AUTHENTICATE, login, Some("console-2")).await;
    assert_eq!(login["ok"], true, "{login}");

    for (method, request) in [
        ("stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get", member("enrolled")),
        ("stytch.b2b.recovery_codes.v1.RecoveryCodesService/Rotate", member("enrolled")),
        ("stytch.b2b.totp.v1.TotpService/Delete", member("enrolled")),
        (
            "stytch.b2b.totp.v1.TotpService/Migrate",
            with(
                "enrolled",
                json!({"secret": "MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI", "recovery_codes": ["their-old-1"]}),
            ),
        ),
        (
            "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Recover",
            with(
                "enrolled",
                json!({
                    "intermediate_session_token": "sandbox-login.enrolled",
                    "recovery_code": "their-old-1",
                }),
            ),
        ),
    ] {
        let ending = page.call(method, request, None).await;
        assert_eq!(ending["ok"], true, "{method}: {ending}");
    }
}

#[tokio::test]
async fn a_failure_says_what_is_known_and_whether_to_retry_the_call() {
    let (mut server, _) = dev(&[]);
    let page = Page::of(&mut server);

    let exists = page.call(CREATE, member("enrolled"), Some("console-3")).await;
    let failure = &exists["failure"];
    assert_eq!(
        (exists["ok"].as_bool(), failure["code"].as_str()),
        (Some(false), Some("ALREADY_EXISTS"))
    );
    assert_eq!(failure["reason"], "ACTIVE_TOTP_EXISTS");
    assert_eq!(failure["outcome"], "rejected");
    assert_eq!(failure["advice"], "Do not retry it: it gets the same status.");

    let invalid = page.call(CREATE, with("fresh", json!({"expiration_minutes": 4})), None).await;
    let failure = &invalid["failure"];
    assert_eq!(failure["code"], "INVALID_ARGUMENT", "{invalid}");
    assert_eq!(failure["outcome"], "not_sent");
    assert_eq!(failure["violations"][0]["field"], "expiration_minutes");
    assert!(failure["advice"].as_str().unwrap().starts_with("Do not retry it: change the request"));

    for (request, key, field) in [
        (with("fresh", json!({"expiration_minutes": "soon"})), None, "expiration_minutes"),
        (with("fresh", json!({"colour": "red"})), None, "colour"),
        (member("fresh"), Some(""), "idempotency-key"),
        (member("fresh"), Some("naïve"), "idempotency-key"),
    ] {
        let unfit = page.call(CREATE, request, key).await;
        assert_eq!(unfit["failure"]["code"], Value::Null, "{unfit}");
        assert_eq!(unfit["failure"]["violations"][0]["field"], field, "{unfit}");
        assert_eq!(unfit["failure"]["outcome"], "not_sent");
    }
    let (status, text) = page.post("/call", &json!({"method": "nope"})).await;
    assert!(status.is_client_error(), "{status} {text}");
}

#[tokio::test]
async fn without_a_facade_nothing_was_sent_and_the_page_says_so() {
    let closed = Closed::new();
    let mut command = program(&["console", "--console-addr", "127.0.0.1:0"]);
    command.args(["--addr", &closed.addr.to_string()]);
    let mut server = Server::start(command);
    let page = Page::of(&mut server);

    let ending = page.call(CREATE, member("fresh"), None).await;

    let failure = &ending["failure"];
    assert_eq!((&failure["code"], &failure["outcome"]), (&Value::Null, &json!("not_sent")));
    assert!(failure["message"].as_str().unwrap().starts_with("cannot connect to"), "{ending}");
    assert_eq!(
        failure["advice"],
        "Start the façade or correct the address, then retry it: nothing was sent."
    );

    let deaf = Deaf::new().await;
    let mut command = program(&["console", "--console-addr", "127.0.0.1:0"]);
    command.args(["--addr", &deaf.addr.to_string()]);
    let mut server = Server::start(command);
    let body = json!({"method": CREATE, "request": member("fresh"), "deadline_ms": 200});
    let (_, text) = Page::of(&mut server).post("/call", &body).await;
    let failure = &serde_json::from_str::<Value>(&text).unwrap()["failure"];
    assert_eq!(failure["code"], "DEADLINE_EXCEEDED", "{text}");
    assert_eq!(failure["outcome"], "not_sent");
    assert_eq!(failure["advice"], "Retry it: nothing was sent.");
}

#[tokio::test]
async fn no_other_site_can_use_the_console_under_any_of_its_paths() {
    let (mut server, _) = dev(&[]);
    let page = Page::of(&mut server);
    let foreign = page.url.replace("127.0.0.1", "evil.example").replace("http://", "");

    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/main.js"),
        (Method::GET, "/contract.json"),
        (Method::GET, "/settings.json"),
        (Method::POST, "/call"),
        (Method::POST, "/authenticator"),
        (Method::GET, "/nothing"),
    ] {
        let request = page.request(method.clone(), path).header(HOST, &foreign);
        let rebound = request.send().await.unwrap();
        assert_eq!(rebound.status(), 403, "DNS rebinding: {path}");
        assert!(!rebound.text().await.unwrap().contains("doctype"));

        let request = page.request(method, path).header("sec-fetch-site", "cross-site");
        let request = request.header("sec-fetch-mode", "no-cors").header("origin", "null");
        assert_eq!(request.send().await.unwrap().status(), 403, "cross-site: {path}");
    }
    let body = json!({"method": CREATE, "request": member("fresh"), "deadline_ms": 1000});
    for (origin, content_type, status) in [
        ("http://evil.example", "application/json", 403),
        ("null", "application/json", 403),
        (page.url.as_str(), "text/plain", 415),
        (page.url.as_str(), "application/x-www-form-urlencoded", 415),
    ] {
        let request = page.request(Method::POST, "/call").header(ORIGIN, origin);
        let request = request.header(CONTENT_TYPE, content_type).body(body.to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{origin}, {content_type}");
    }
    let fresh = page.call(CREATE, member("fresh"), None).await;
    assert_eq!(fresh["ok"], true, "none of these calls was made: {fresh}");
}

#[tokio::test]
async fn credentials_stay_in_the_process_and_a_refused_call_is_explained() {
    let authority = Authority::new();
    let files = DoorFiles::new(&[&authority]);
    let (token, line) = token_line("reader");
    files.write("tokens", &line);
    files.write("callers.toml", POLICY);
    let facade = files.facade(sandbox().await).await;
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &files.servers.certificate.pem());
    let (certificate, key) = authority.certify(&[LOGIN], false);
    let console = |more: &[(&str, &str)]| {
        let mut command = program(&["console", "--console-addr", "127.0.0.1:0"]);
        command.args(["--addr", &format!("https://localhost:{}", facade.addr.port())]);
        command.arg("--ca-file").arg(&ca).env("TOTP_FACADE_TOKEN", &*token);
        for (flag, text) in more {
            command.arg(flag).arg(folder.write(&flag[2..], text));
        }
        Server::start(command)
    };
    let mut server = console(&[]);
    let page = Page::of(&mut server);

    let settings = page.json("/settings.json").await;
    assert_eq!(
        (&settings["has_token"], &settings["has_certificate"]),
        (&json!(true), &json!(false))
    );
    let allowed = page
        .call("stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get", member("enrolled"), None)
        .await;
    assert_eq!(allowed["ok"], true, "{allowed}");
    let refused = page.call(CREATE, member("fresh"), None).await;
    assert_eq!(refused["failure"]["code"], "PERMISSION_DENIED", "{refused}");
    assert_eq!(refused["failure"]["reason"], "CALLER_NOT_ALLOWED");
    assert_eq!(refused["failure"]["outcome"], "not_sent");
    assert_eq!(
        refused["failure"]["advice"],
        "Do not retry it: the policy must allow it first; nothing was done."
    );

    for path in ["/", "/main.js", "/settings.json", "/contract.json"] {
        let (_, headers, text) = page.get(path).await;
        assert!(!text.contains(&*token) && !format!("{headers:?}").contains(&*token), "{path}");
    }
    assert!(!refused.to_string().contains(&*token));
    let mut server = console(&[("--cert-file", &certificate), ("--key-file", &key)]);
    let settings = Page::of(&mut server).json("/settings.json").await;
    assert_eq!(settings["has_certificate"], true);
}

#[tokio::test]
async fn the_console_of_dev_trusts_the_self_signed_certificate_of_its_facade() {
    let folder = Folder::new();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = folder.write("server.pem", &signed.cert.pem());
    let key = folder.write("server.key", &signed.signing_key.serialize_pem());
    let flags = ["--tls-cert-file", certificate.to_str().unwrap(), "--tls-key-file"];
    let (mut server, _) = dev(&[&flags[..], &[key.to_str().unwrap()]].concat());

    let answer = Page::of(&mut server).call(CREATE, member("fresh"), None).await;

    assert_eq!(answer["ok"], true, "{answer}");
}

#[test]
fn beyond_loopback_the_console_refuses_to_start() {
    for addr in ["0.0.0.0:8091", "[::]:8091", "192.0.2.1:8091", "nowhere"] {
        for subcommand in ["console", "dev"] {
            let output = run(&[subcommand, "--console-addr", addr]);

            assert_eq!(output.status.code(), Some(64), "{subcommand} {addr}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains("TOTP_FACADE_CONSOLE_ADDR"), "{text}");
            assert_eq!(output.stdout, b"", "no port was opened");
        }
    }
}

#[tokio::test]
async fn serve_has_no_console() {
    let output = run(&["serve", "--console-addr", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(64));
    let mut command = serve("http://127.0.0.1:9", "secret-test-1");
    command.env("TOTP_FACADE_CONSOLE_ADDR", "127.0.0.1:0");
    let mut server = Server::start(command);
    let admin = server.addr("admin");
    for path in ["/contract.json", "/settings.json", "/main.js"] {
        let response = reqwest::get(format!("http://{admin}{path}")).await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
    }
    server.signal("TERM");
    let (_, stdout, _) = server.end();
    assert!(!stdout.contains("console"), "{stdout}");
}

#[tokio::test]
async fn connections_that_say_nothing_keep_neither_the_page_nor_the_facade_from_others() {
    let (mut server, _) = dev(&[]);
    let page = Page::of(&mut server);
    let addr = page.url.strip_prefix("http://").unwrap();

    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"POST /call HTTP/1.1\r\nHost: ").await.unwrap();
        silent.push(stream);
    }

    assert_eq!(page.call(CREATE, member("fresh"), None).await["ok"], true);
    let ends = silent.iter_mut().take(100).map(|stream| stream.read_u8());
    for end in futures_util::future::join_all(ends).await {
        assert!(end.is_err(), "the oldest are evicted");
    }
}
