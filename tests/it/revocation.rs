//! What happens to callers when a file that lets them in is emptied, broken or removed.

use std::{fs, time::Instant};

use serde_json::json;
use tonic::{Code, transport::Channel};
use totp_facade::access::token_line;

use crate::support::{
    Facade, PATIENCE,
    credentials::{Authority, Issuing, jwks},
    door::{DoorFiles, LOGIN, becomes, create, is},
    folder::Folder,
    process::{Server, program, serve},
    sandbox,
};

const POLICY: &str = "[[caller]]\nname = 'login'\nmethods = ['TotpService/*']\n\
    identities = ['spiffe://example.org/ns/web/sa/login', 'token:login', \
    'jwt:system:serviceaccount:web:login']\n";

/// A file that lets callers in, and a caller whom it lets in.
struct Case {
    /// Its label in the metrics.
    label: &'static str,
    file: &'static str,
    good: String,
    /// Contents that let nobody in.
    emptied: &'static [&'static str],
    /// Contents that cannot be used.
    broken: &'static [&'static str],
    token: Option<String>,
    certified: bool,
}

struct Door {
    files: DoorFiles,
    ours: Authority,
    facade: Facade,
    cases: Vec<Case>,
}

impl Door {
    async fn new() -> Self {
        let ours = Authority::new();
        let files = DoorFiles::new(&[&ours]);
        let (token, line) = token_line("login");
        let key = Issuing::new("one");
        files.write("tokens", &line);
        files.write("callers.toml", POLICY);
        files.write("jwks.json", &jwks(&[&key]));
        let facade = files.facade(sandbox().await).await;
        let cases = vec![
            Case {
                label: "tokens",
                file: "tokens",
                good: line,
                emptied: &["", "\u{feff}# nobody\r\n\r\n"],
                broken: &["login", "not a token at all", "\0"],
                token: Some(token.to_string()),
                certified: false,
            },
            Case {
                label: "jwks",
                file: "jwks.json",
                good: jwks(&[&key]),
                emptied: &["\u{feff}{\"keys\": []}", ""],
                broken: &["{}", "null", "[]", "{\"keys\":null}", "{\"keys\":["],
                token: Some(key.sign(&json!({}))),
                certified: false,
            },
            Case {
                label: "policy",
                file: "callers.toml",
                good: POLICY.into(),
                emptied: &["caller = []", "\u{feff}\r\n"],
                broken: &["[[caller]]", "[[caller]]\nname = 'login'", "callers = []", "{"],
                token: Some(token.to_string()),
                certified: false,
            },
            Case {
                label: "tls",
                file: "clients.pem",
                good: ours.certificate.pem(),
                emptied: &["", "\u{feff}# nobody\r\n"],
                broken: &["not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA"],
                token: None,
                certified: true,
            },
        ];
        Self { files, ours, facade, cases }
    }

    /// Connects as the caller; its token, if there is one, goes with each call.
    async fn channel(&self, case: &Case) -> Channel {
        let identity = case.certified.then(|| self.ours.identity(&[LOGIN]));
        self.files.channel(&self.facade, identity).await
    }

    async fn failures(&self, case: &Case, count: usize) {
        let (label, last) = (case.label, usize::from(count > 0));
        let line = format!("totp_facade_reload_failures_total{{file=\"{label}\"}} {count}");
        self.facade.shows(&line).await;
        let line = format!("totp_facade_reload_last_failed{{file=\"{label}\"}} {last}");
        self.facade.shows(&line).await;
    }
}

#[tokio::test]
async fn an_emptied_file_admits_nobody_on_open_connections_too() {
    let door = Door::new().await;
    for case in &door.cases {
        let (open, token) = (door.channel(case).await, case.token.as_deref());
        is(create(&open, token).await, Code::Ok, case.label);
        for emptied in case.emptied {
            door.files.write(case.file, emptied);
            becomes(&open, token, Code::Unauthenticated).await;
            let new = door.channel(case).await;
            is(create(&new, token).await, Code::Unauthenticated, case.label);

            door.files.write(case.file, &case.good);
            becomes(&open, token, Code::Ok).await;
            let new = door.channel(case).await;
            is(create(&new, token).await, Code::Ok, case.label);
        }
        door.failures(case, 0).await;
    }
}

#[tokio::test]
async fn a_broken_or_missing_file_changes_nothing_and_is_counted() {
    let door = Door::new().await;
    for case in &door.cases {
        let (open, token) = (door.channel(case).await, case.token.as_deref());
        door.failures(case, 0).await;
        let mut failures = 0;
        for broken in case.broken {
            door.files.write(case.file, broken);
            failures += 1;
            door.failures(case, failures).await;
            is(create(&open, token).await, Code::Ok, broken);
        }
        fs::remove_file(door.files.path(case.file)).unwrap();
        door.failures(case, failures + 1).await;
        is(create(&open, token).await, Code::Ok, "the file is gone");
        let new = door.channel(case).await;
        is(create(&new, token).await, Code::Ok, "a new connection");

        door.files.write(case.file, &case.good);
        let label = case.label;
        let healed = format!("totp_facade_reload_last_failed{{file=\"{label}\"}} 0");
        door.facade.shows(&healed).await;
        is(create(&open, token).await, Code::Ok, "as before");
    }
}

#[test]
fn an_empty_file_is_an_error_at_start() {
    let files = DoorFiles::new(&[]);
    let (token, line) = token_line("login");
    let folder = Folder::new();
    let tokens = folder.write("tokens", &line);
    let empty_set = folder.write("jwks.json", "{\"keys\": []}");
    let useless_set = folder.write("useless.json", "{\"keys\": [null, {\"kty\": \"oct\"}]}");
    let empty_policy = folder.write("callers.toml", "caller = []");
    let comment = folder.write("comment", "# nobody\r\n");
    let empty = folder.write("empty", "");
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let tls = [
        ("--tls-cert-file", text(&files.path("server.pem"))),
        ("--tls-key-file", text(&files.path("server.key"))),
    ];
    let jwt = |keys: &std::path::Path| {
        vec![
            ("--jwt-issuer", "https://issuer".into()),
            ("--jwt-audience", "us".into()),
            ("--jwt-keys", text(keys)),
        ]
    };
    for (flags, setting, what) in [
        (vec![("--tokens-file", text(&empty))], "TOTP_FACADE_TOKENS_FILE", "holds no token"),
        (vec![("--tokens-file", text(&comment))], "TOTP_FACADE_TOKENS_FILE", "holds no token"),
        (jwt(&empty_set), "TOTP_FACADE_JWT_KEYS", "holds no key"),
        (jwt(&useless_set), "TOTP_FACADE_JWT_KEYS", "holds no key"),
        (jwt(&empty), "TOTP_FACADE_JWT_KEYS", "holds no key"),
        (
            vec![("--tokens-file", text(&tokens)), ("--callers-file", text(&empty_policy))],
            "TOTP_FACADE_CALLERS_FILE",
            "holds no [[caller]]",
        ),
        (
            [&tls[..], &[("--tls-client-ca-file", text(&empty))]].concat(),
            "TOTP_FACADE_TLS_CLIENT_CA_FILE",
            "holds no certificate",
        ),
        (
            vec![("--tls-cert-file", text(&empty)), tls[1].clone()],
            "TOTP_FACADE_TLS_CERT_FILE",
            "holds no certificate",
        ),
        (
            vec![tls[0].clone(), ("--tls-key-file", text(&empty))],
            "TOTP_FACADE_TLS_KEY_FILE",
            "holds no private key",
        ),
    ] {
        let mut command = program(&["check"]);
        command.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "secret");
        for (flag, value) in &flags {
            command.args([*flag, value]);
        }

        let output = command.output().unwrap();

        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {stderr}");
        assert!(stderr.contains(setting) && stderr.contains(what), "{flags:?}: {stderr}");
        assert!(!stderr.contains(&*token), "{stderr}");
    }
}

#[tokio::test]
async fn emptied_files_of_our_own_credentials_keep_the_old_ones_and_are_reported() {
    let (files, folder) = (DoorFiles::new(&[]), Folder::new());
    let secret = folder.write("secret", "\u{feff}secret-never-printed\r\n");
    let mut command = serve("http://127.0.0.1:9", "");
    command.env_remove("STYTCH_SECRET").env("STYTCH_SECRET_FILE", &secret);
    command.arg("--tls-cert-file").arg(files.path("server.pem"));
    command.arg("--tls-key-file").arg(files.path("server.key"));
    let mut server = Server::start(command);
    let (grpc, admin) = (server.addr("grpc"), server.addr("admin"));
    let shows = async |line: &str| {
        let start = Instant::now();
        loop {
            // The port is announced before it answers.
            let page = match reqwest::get(format!("http://{admin}/metrics")).await {
                Ok(answer) => answer.text().await.unwrap(),
                Err(_) => String::new(),
            };
            if page.lines().any(|it| it == line) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no {line} in {page}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };

    shows("totp_facade_reload_failures_total{file=\"stytch_secret\"} 0").await;
    shows("totp_facade_reload_failures_total{file=\"tls\"} 0").await;
    folder.write("secret", "\n");
    shows("totp_facade_reload_last_failed{file=\"stytch_secret\"} 1").await;
    files.write("server.key", "");
    shows("totp_facade_reload_last_failed{file=\"tls\"} 1").await;
    files.servers.endpoint(grpc, None).connect().await.expect("the old certificate and key");
    folder.write("secret", "secret-never-printed");
    shows("totp_facade_reload_last_failed{file=\"stytch_secret\"} 0").await;

    server.signal("TERM");
    let (_, stdout, stderr) = server.end();
    assert!(!stdout.contains("never-printed") && !stderr.contains("never-printed"), "{stderr}");
}
