//! `verify` against a stand-in for Stytch: a sandbox, behind a proxy that plants differences.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use totp_facade::{sandbox::Seed, verify::QUESTIONS};

use crate::support::{self, Closed, process::program};

/// What the proxy does to a response: given method, path and request, it may change status and
/// body.
type Plant = fn(&Method, &str, &Value, &mut u16, &mut Value);

/// A call that passed: method, path, request, status and response.
type Passed = (Method, String, Value, u16, Value);

/// A stand-in for Stytch.
struct Stytch {
    addr: SocketAddr,
    passed: Arc<Mutex<Vec<Passed>>>,
}

struct Proxy {
    sandbox: SocketAddr,
    plant: Plant,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Stytch {
    async fn with(plant: Plant) -> Self {
        let sandbox = support::sandbox().await;
        let listener = support::listener().await;
        let (addr, passed) = (listener.local_addr().unwrap(), Arc::default());
        let proxy = Arc::new(Proxy { sandbox, plant, passed: Arc::clone(&passed) });
        let router = Router::new().fallback(pass).with_state(proxy);
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { addr, passed }
    }

    /// Runs `verify` for a member of the sandbox.
    async fn verify(&self, member: &str, more: &[&str]) -> Output {
        let mut command = verify(self.addr, member);
        command.args(more).env("TOTP_FACADE_VERIFY_OTHER_SESSION_TOKEN", "sandbox-session.sms");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn report(&self, member: &str) -> (Option<i32>, Value) {
        let output = self.verify(member, &["--json"]).await;
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code(), report)
    }

    fn passed(&self) -> Vec<Passed> {
        self.passed.lock().unwrap().clone()
    }
}

/// Returns `verify` for a member of the project at this address, with a login.
fn verify(stytch: SocketAddr, member: &str) -> Command {
    let project = Seed::embedded().project;
    let mut command = program(&["verify", "--organization-id", "example-works"]);
    command
        .args(["--member-id", member])
        .env("STYTCH_PROJECT_ID", project.project_id)
        .env("STYTCH_SECRET", project.secret)
        .env("STYTCH_BASE_URL", format!("http://{stytch}"))
        .env("TOTP_FACADE_VERIFY_LOGIN_TOKEN", format!("sandbox-login.{member}"));
    command
}

async fn pass(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let request = serde_json::from_slice(&body).unwrap_or_default();
    let mut headers = head.headers;
    headers.remove("host");
    let answer = reqwest::Client::new()
        .request(head.method.clone(), format!("http://{}{}", proxy.sandbox, head.uri))
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let mut status = answer.status().as_u16();
    let mut body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    (proxy.plant)(&head.method, &path, &request, &mut status, &mut body);
    let text = body.to_string();
    proxy.passed.lock().unwrap().push((head.method, path, request, status, body));
    let json = [("content-type", "application/json")];
    (StatusCode::from_u16(status).unwrap(), json, Body::from(text)).into_response()
}

const NOTHING: Plant = |_, _, _, _, _| {};

#[tokio::test]
async fn verify_finds_no_difference_between_the_sandbox_and_itself() {
    let stytch = Stytch::with(NOTHING).await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!(report["differences"], json!([]));
    assert_eq!((code, &report["failure"]), (Some(0), &Value::Null), "{report:#}");
    assert_eq!(report["skipped"], json!([]));
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() > 50, "{}", steps.len());
    let open = report["questions"].as_array().unwrap().iter();
    let open: Vec<_> = open.filter(|it| it["not_settled"] != Value::Null).collect();
    assert_eq!(open.len(), 3, "{open:#?}");
    let (code, again) = stytch.report("fresh").await;
    assert_eq!((code, &again["steps"][0]["stytch"]), (Some(1), &steps[0]["stytch"]));
    let failure = again["failure"].as_str().unwrap();
    assert!(failure.contains("404 intermediate_session_not_found"), "its login is used: {failure}");
}

#[tokio::test]
async fn verify_says_which_steps_need_another_token() {
    let stytch = Stytch::with(NOTHING).await;
    let project = Seed::embedded().project;
    let mut command = program(&["verify", "--organization-id", "works", "--member-id", "fresh"]);
    command
        .env("STYTCH_PROJECT_ID", project.project_id)
        .env("STYTCH_SECRET", project.secret)
        .env("STYTCH_BASE_URL", format!("http://{}", stytch.addr))
        .env("TOTP_FACADE_VERIFY_SESSION_TOKEN", "sandbox-session.fresh");

    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();

    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("3 skipped") && text.contains("Differences: none"), "{text}");
    assert!(text.contains("not settled: needs TOTP_FACADE_VERIFY_OTHER_SESSION_TOKEN"), "{text}");
}

#[tokio::test]
async fn verify_that_cannot_begin_says_so_and_what_to_check() {
    let sandbox = support::sandbox().await;
    for (member, secret, helps) in [
        ("nobody", None, "check --organization-id and --member-id"),
        ("fresh", Some("secret-test-wrong"), "check STYTCH_PROJECT_ID and STYTCH_SECRET"),
        ("enrolled", None, "name a member without one"),
    ] {
        let mut command = verify(sandbox, member);
        command.envs(secret.map(|secret| ("STYTCH_SECRET", secret)));

        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();

        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("Nothing was compared, and nothing was changed: "), "{text}");
        assert!(text.contains(helps) && !text.contains("Differences"), "{text}");
    }
}

#[tokio::test]
async fn verify_reports_each_kind_of_planted_difference() {
    let stytch = Stytch::with(|method, path, request, status, body| {
        if let Some(member) = body.get_mut("member").and_then(Value::as_object_mut) {
            member.insert("unheard_of".into(), json!("some text"));
            member.remove("is_breakglass");
            member["name"] = Value::Null;
        }
        if method == Method::GET && body["error_type"] == "member_not_found" {
            (*status, body["status_code"]) = (400, 400.into());
        }
        if body["error_type"] == "unable_to_authenticate_totp" {
            body["error_type"] = "invalid_totp_code".into();
        }
        if path.ends_with("/rotate") && *status == 200 {
            body["recovery_codes"].as_array_mut().unwrap().truncate(8);
        }
        if request["set_mfa_enrollment"] == "unenroll" {
            body["member"]["mfa_enrolled"] = true.into();
        }
        if path == "/v1/b2b/totp" && body["qr_code"].is_string() {
            body["qr_code"] = "data:image/png;base64, AAAA".into();
        }
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    let found: BTreeSet<_> = report["differences"].as_array().unwrap().iter().map(line).collect();
    let expected = [
        "error_type : 401 invalid_totp_code / 401 unable_to_authenticate_totp",
        "http_status : 400 member_not_found / 404 member_not_found",
        "length /recovery_codes: 8 / 10",
        "presence /member/is_breakglass: absent / false",
        "presence /member/unheard_of: a text / absent, in the contract: false",
        "value /member/mfa_enrolled: true / false",
        "value /member/name: null / an empty text",
        "value /qr_code: a PNG, with a blank before its base64 / a PNG",
    ];
    assert_eq!(found, expected.map(str::to_owned).into(), "{report:#}");
    assert_eq!((code, &report["failure"]), (Some(1), &Value::Null));
    assert_eq!(report["left_behind"], Value::Null);
}

fn line(difference: &Value) -> String {
    let text = |key: &str| difference[key].as_str().unwrap().to_owned();
    let contract = difference["in_contract"].as_bool();
    let contract = contract.map(|it| format!(", in the contract: {it}")).unwrap_or_default();
    let (kind, field) = (text("kind"), text("field"));
    format!("{kind} {field}: {} / {}{contract}", text("stytch"), text("sandbox"))
}

#[tokio::test]
async fn verify_leaves_a_member_alone_who_has_a_totp() {
    let stytch = Stytch::with(NOTHING).await;

    let (code, report) = stytch.report("enrolled").await;

    assert_eq!(code, Some(1));
    assert!(report["failure"].as_str().unwrap().contains("has a TOTP"), "{report:#}");
    let calls: Vec<_> = stytch.passed().into_iter().map(|(method, ..)| method).collect();
    assert_eq!(calls, [Method::GET], "nothing but a read was sent");
}

#[tokio::test]
async fn verify_deletes_nothing_that_it_has_not_made() {
    // A TOTP that somebody enrols after the first step.
    let stytch = Stytch::with(|_, path, _, status, body| {
        if path == "/v1/b2b/totp" && *status == 200 {
            *status = 400;
            *body = json!({"status_code": 400, "error_type": "active_totp_exists"});
        }
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!(code, Some(1));
    assert!(report["failure"].as_str().unwrap().contains("active_totp_exists"), "{report:#}");
    assert!(stytch.passed().iter().all(|(method, ..)| method != Method::DELETE));
}

#[tokio::test]
async fn verify_ends_after_a_read_that_is_not_answered_by_stytch() {
    let stytch = Stytch::with(|_, _, _, status, body| {
        (*status, *body) = (200, json!("<html>"));
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!(code, Some(1));
    assert!(report["failure"].as_str().unwrap().contains("not Stytch's answer"), "{report:#}");
    let calls: Vec<_> = stytch.passed().into_iter().map(|(method, ..)| method).collect();
    assert_eq!(calls, [Method::GET], "nothing but a read was sent");
}

#[tokio::test]
async fn verify_changes_nothing_of_a_totp_without_recovery_codes() {
    let stytch = Stytch::with(|method, path, _, status, body| {
        if *method == Method::GET {
            (*status, *body) = (404, json!({"error_type": "recovery_codes_not_found"}));
        } else if path == "/v1/b2b/totp" {
            (*status, *body) = (400, json!({"error_type": "active_totp_exists"}));
        }
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!(code, Some(1));
    assert!(report["failure"].as_str().unwrap().contains("has a TOTP"), "{report:#}");
    for (method, path, ..) in stytch.passed() {
        let may_change = method != Method::GET && path != "/v1/b2b/totp";
        assert!(!may_change, "{method} {path}");
    }
}

#[tokio::test]
async fn verify_says_which_address_it_cannot_reach_and_why() {
    let closed = Closed::new();
    let addr = closed.addr;
    let mut command = verify(addr, "fresh");

    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();

    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&format!("cannot connect to http://{addr}/: ")), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    assert!(!text.contains("502"), "Stytch has answered nothing: {text}");
}

#[tokio::test]
async fn verify_says_when_stytch_does_not_respond_in_time() {
    let silent = support::listener().await;
    let addr = silent.local_addr().unwrap();
    let mut command = verify(addr, "fresh");
    command.arg("--json").env("TOTP_FACADE_UPSTREAM_TIMEOUT", "300ms");

    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failure = report["failure"].as_str().unwrap();
    assert!(failure.contains(&format!("no response in time from http://{addr}/")), "{failure}");
}

#[tokio::test]
async fn verify_takes_a_token_of_nobody_for_no_difference() {
    let stytch = Stytch::with(|_, _, request, status, body| {
        let tokens = ["session_token", "intermediate_session_token"];
        if tokens.iter().any(|token| request[token].is_string()) {
            (*status, *body) = (404, json!({"error_type": "session_not_found"}));
        }
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!(code, Some(1));
    assert!(report["failure"].as_str().unwrap().contains("none of this member's"), "{report:#}");
    assert_eq!(report["differences"], json!([]));
}

#[tokio::test]
async fn verify_deletes_nothing_while_it_is_unknown_whether_it_made_it() {
    // As for a member with a TOTP whose recovery codes are used up, and a Create without an end.
    let stytch = Stytch::with(|_, path, _, status, _| {
        if path == "/v1/b2b/totp" {
            *status = 503;
        }
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!(code, Some(1));
    assert!(report["left_behind"].as_str().unwrap().contains("not known"), "{report:#}");
    assert!(stytch.passed().iter().all(|(method, ..)| method != Method::DELETE));
}

#[tokio::test]
async fn verify_goes_no_further_while_it_is_unknown_whose_totp_it_is() {
    // Its last TOTP, after which the script has only a delete.
    let stytch = Stytch::with(|_, path, request, status, _| {
        let is_base32 = request["secret"] != "018-not-base32-018-not-base32";
        if path.ends_with("/migrate") && is_base32 && request["recovery_codes"] == json!([]) {
            *status = 408;
        }
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!(code, Some(1));
    assert!(report["failure"].as_str().unwrap().contains("not known"), "{report:#}");
    assert!(report["left_behind"].as_str().unwrap().contains("not known"), "{report:#}");
    let passed = stytch.passed();
    let (method, path, _, status, _) = passed.last().unwrap();
    assert_eq!((method, path.as_str(), *status), (&Method::POST, "/v1/b2b/totp/migrate", 408));
}

#[tokio::test]
async fn verify_deletes_what_it_made_after_a_failure() {
    let stytch = Stytch::with(|_, _, request, status, _| {
        if request["set_mfa_enrollment"] == "enroll" {
            *status = 503;
        }
    })
    .await;

    let (code, report) = stytch.report("fresh").await;

    assert_eq!((code, &report["left_behind"]), (Some(1), &Value::Null));
    assert!(report["failure"].as_str().unwrap().contains("503"), "{report:#}");
    let passed = stytch.passed();
    let (method, _, _, status, _) = passed.last().unwrap();
    assert_eq!((method, status), (&Method::DELETE, &200));
}

#[tokio::test]
async fn verify_says_when_a_totp_may_be_left() {
    let stytch = Stytch::with(|method, _, _, status, body| {
        if method == Method::DELETE {
            (*status, *body) = (500, json!({"error_type": "internal_server_error"}));
        }
    })
    .await;

    let output = stytch.verify("fresh", &[]).await;

    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("MAY BE LEFT: its delete failed: 500 internal_server_error"), "{text}");
}

#[cfg(unix)]
#[tokio::test]
async fn verify_lets_no_other_user_of_the_machine_call_through_its_facade() {
    use std::{
        fs,
        os::unix::fs::{FileTypeExt as _, MetadataExt as _},
        path::{Path, PathBuf},
    };

    use crate::support::{
        folder::Folder,
        process::{Server, run},
    };

    let (temporary, stytch) = (Folder::new(), support::listener().await);
    let mut command = verify(stytch.local_addr().unwrap(), "fresh");
    command.env("TMPDIR", temporary.as_ref());
    let running = Server::start(command);
    let entries = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };

    // It waits for a response.
    let (connection, _) = stytch.accept().await.unwrap();

    let folders = entries(temporary.as_ref());
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    let files = entries(folder);
    let [socket] = files.as_slice() else { panic!("{files:?}") };
    assert!(fs::metadata(socket).unwrap().file_type().is_socket());
    let addr = format!("unix:{}", socket.display());
    let health = tokio::task::spawn_blocking(move || run(&["healthcheck", "--addr", &addr]));
    assert_eq!(health.await.unwrap().stdout, b"SERVING\n");
    drop((connection, stytch));
    let (code, ..) = tokio::task::spawn_blocking(|| running.end()).await.unwrap();
    assert_eq!(code, Some(1));
    assert_eq!(entries(temporary.as_ref()), [] as [PathBuf; 0]);
}

/// The ports of IPv4 that a process listens on.
#[cfg(target_os = "linux")]
fn ports_of(process: u32) -> Vec<u16> {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let open = descriptors.filter_map(|it| std::fs::read_link(it.unwrap().path()).ok());
    let open: BTreeSet<_> = open.map(|it| it.to_string_lossy().into_owned()).collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening =
        sockets.filter(|it| it[3] == "0A" && open.contains(&format!("socket:[{}]", it[9])));
    listening
        .map(|it| u16::from_str_radix(it[1].rsplit_once(':').unwrap().1, 16).unwrap())
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn verify_takes_no_request_of_anybody_else_for_its_own() {
    use crate::support::process::Server;

    let stytch = support::listener().await;
    let addr = stytch.local_addr().unwrap();
    let mut command = verify(addr, "fresh");
    command.arg("--json");
    let running = Server::start(command);
    // It waits for a response.
    let (connection, _) = stytch.accept().await.unwrap();

    let ports = ports_of(running.id());

    assert_eq!(ports.len(), 2, "the admin port and the recorder: {ports:?}");
    for port in ports {
        let url = format!("http://127.0.0.1:{port}/v1/b2b/recovery_codes/example-works/fresh");
        let request = reqwest::Client::new().get(url).timeout(support::PATIENCE);
        assert_eq!(request.send().await.unwrap().status(), 404, "nothing is sent to Stytch");
    }
    drop((connection, stytch));
    let (_, report, _) = tokio::task::spawn_blocking(|| running.end()).await.unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let failure = report["failure"].as_str().unwrap();
    assert!(failure.contains(&format!("http://{addr}/")), "what became of its own: {failure}");
}

#[tokio::test]
async fn verify_prints_no_secret() {
    for json in [&["--json"][..], &["--log", "trace"]] {
        let stytch = Stytch::with(|_, _, request, _, body| {
            // An error that quotes the request.
            if body["error_type"].is_string() {
                body["error_message"] = format!("no: {request}").into();
            }
        })
        .await;

        let output = stytch.verify("fresh", json).await;

        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let mut secrets = vec![Seed::embedded().project.secret, "sandbox-login.fresh".to_owned()];
        for (_, _, request, _, body) in stytch.passed() {
            for key in ["recovery_code", "secret", "session_token", "session_jwt", "qr_code"] {
                secrets.extend([&request[key], &body[key]].iter().filter_map(|it| secret(it)));
            }
            let codes = body["recovery_codes"].as_array().into_iter().flatten();
            secrets.extend(codes.filter_map(secret));
        }
        assert!(secrets.len() > 50, "{}", secrets.len());
        for secret in secrets {
            assert!(!text.contains(&secret), "{secret} in {text}");
        }
    }
}

/// A value that nobody may see; those that the run itself invents are none, nor is a wrong code,
/// whose six digits may stand anywhere.
fn secret(value: &Value) -> Option<String> {
    let invented = [
        "none-none-none",
        "not-a-jwt",
        "018-not-base32-018-not-base32",
        "their-old-1",
        "their-old-2",
    ];
    value.as_str().filter(|it| it.len() > 6 && !invented.contains(it)).map(str::to_owned)
}

#[test]
fn verify_without_a_test_project_or_a_member_ends_with_64_and_says_why() {
    let output = program(&["verify"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    for line in [
        "error: STYTCH_PROJECT_ID: is required",
        "error: STYTCH_SECRET: is required",
        "error: --organization-id: is required: the organization of the member",
        "error: --member-id: is required: a member made for the run, which changes it",
        "error: TOTP_FACADE_VERIFY_SESSION_TOKEN: is required (or TOTP_FACADE_VERIFY_LOGIN_TOKEN)",
    ] {
        assert!(stderr.contains(line), "{line} in {stderr}");
    }
    for project in ["project-live-1", "my-project"] {
        let output = program(&["verify", "--organization-id", "o", "--member-id", "m"])
            .env("STYTCH_PROJECT_ID", project)
            .env("STYTCH_SECRET", "secret")
            .env("TOTP_FACADE_VERIFY_SESSION_TOKEN", "token")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.contains("STYTCH_PROJECT_ID: must be a test project"), "{stderr}");
    }
}

#[test]
fn verify_knows_the_questions_of_the_page() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sandbox.md"));
    let page = page.unwrap();
    let (_, table) = page.split_once("| question | what the sandbox does |\n|---|---|\n").unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix("| "));
    let asked: Vec<_> = rows.filter_map(|row| Some(row.split_once(" | ")?.0)).collect();

    let known: Vec<_> = QUESTIONS.iter().map(|question| question.text).collect();

    assert_eq!(known, asked);
}
