//! Injects faults and advances the clock at run time, as a team's own tests would.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tonic::{Code, Status, transport::Channel};
use totp_facade::sandbox::{Sandbox, Seed};

use crate::support::{self, Facade, Setup, info, pushback, rpc::Rpc};

struct World {
    sandbox: String,
    channel: Channel,
    _facade: Facade,
}

impl World {
    async fn new() -> Self {
        let sandbox = support::serve(Sandbox::new(Seed::embedded()).with_control()).await;
        let mut setup = Setup::new(sandbox);
        setup.server.max_in_flight = 1024;
        let facade = setup.start().await;
        let channel = facade.channel().await;
        Self { sandbox: format!("http://{sandbox}/sandbox"), channel, _facade: facade }
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("{}/{path}", self.sandbox);
        let request = reqwest::Client::new().request(method, url).body(body.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn inject(&self, rule: Value) {
        let (status, answer) = self.control(Method::POST, "faults", &rule).await;
        assert_eq!(status, StatusCode::CREATED, "{rule}: {answer}");
    }

    async fn create(&self) -> Result<Value, Status> {
        Rpc::CREATE.try_for(self.channel.clone(), "fresh").await.map(|it| it.into_inner())
    }
}

#[tokio::test]
async fn each_kind_of_fault_reaches_the_caller_as_the_table_says() {
    let world = World::new().await;
    for (fault, code, reason, upstream) in [
        (json!({"status": 503}), Code::Unknown, "OUTCOME_UNKNOWN", "unknown"),
        (json!({"status": 404}), Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown"),
        (
            json!({"error_type": "too_many_requests"}),
            Code::ResourceExhausted,
            "TOO_MANY_REQUESTS",
            "rejected",
        ),
        (json!({"error_type": "brand_new", "status": 409}), Code::Aborted, "BRAND_NEW", "rejected"),
        (json!({"cut": "before_answer"}), Code::Unknown, "OUTCOME_UNKNOWN", "unknown"),
        (json!({"cut": "within_answer"}), Code::Internal, "UPSTREAM_ANSWER_UNREADABLE", "unknown"),
    ] {
        world.inject(json!({"fault": fault, "calls": 1})).await;

        let status = world.create().await.expect_err("a fault");

        assert_eq!(status.code(), code, "{fault}: {status:?}");
        assert_eq!(info(&status).reason, reason, "{fault}");
        assert_eq!(info(&status).upstream, upstream, "{fault}");
        world.create().await.expect("one call only");
    }
}

#[tokio::test]
async fn a_retry_after_reaches_the_caller_as_a_pushback() {
    let world = World::new().await;
    let fault = json!({"error_type": "too_many_requests", "retry_after": 2});
    world.inject(json!({"fault": fault})).await;

    let status = world.create().await.expect_err("a fault");

    let wait: u64 = pushback(&status).expect("a pushback").parse().unwrap();
    assert!((2000..=2400).contains(&wait), "{wait} ms");
}

#[tokio::test]
async fn latency_delays_a_response() {
    let world = World::new().await;
    world.inject(json!({"fault": {"latency": "80ms"}, "calls": 1})).await;
    let start = Instant::now();

    world.create().await.expect("an answer, late");

    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_call_can_take_effect_and_its_response_be_lost() {
    let world = World::new().await;
    let enrolled = json!({"organization_id": "works", "member_id": "enrolled"});
    for fault in [
        json!({"cut": "before_answer", "takes_effect": true}),
        json!({"cut": "within_answer"}),
        json!({"status": 500, "takes_effect": true}),
    ] {
        let codes = async || {
            let answer = Rpc::GET.with(world.channel.clone(), enrolled.clone()).await.unwrap();
            answer.into_inner()["recovery_codes"].clone()
        };
        let before = codes().await;
        let path = "/v1/b2b/recovery_codes/rotate";
        world.inject(json!({"fault": fault, "path": path, "calls": 1})).await;

        let status = Rpc::ROTATE.with(world.channel.clone(), enrolled.clone()).await;

        assert_eq!(info(&status.expect_err("lost")).upstream, "unknown", "{fault}");
        assert_ne!(codes().await, before, "{fault}");
    }
    world.inject(json!({"fault": {"status": 500}, "member_id": "enrolled", "calls": 1})).await;
    let before = Rpc::ROTATE.with(world.channel.clone(), enrolled.clone()).await;
    before.expect_err("a fault without an effect");
}

#[tokio::test]
async fn rules_match_calls_by_path_member_count_and_share() {
    let world = World::new().await;
    let call = async |rpc: Rpc, member: &str| rpc.try_for(world.channel.clone(), member).await;
    let fault = json!({"error_type": "too_many_requests"});

    world
        .inject(json!({"fault": fault, "path": "/v1/b2b/totp", "member_id": "fresh", "calls": 2}))
        .await;
    call(Rpc::ROTATE, "enrolled").await.expect("another path");
    call(Rpc::CREATE, "fresh").await.expect_err("the first");
    call(Rpc::CREATE, "fresh").await.expect_err("the second");
    call(Rpc::CREATE, "fresh").await.expect("no third");

    for (share, expected) in [(0.0, 0..=0), (0.5, 40..=160), (1.0, 200..=200)] {
        world.inject(json!({"fault": fault, "share": share})).await;
        let calls = join_all((0..200).map(|_| call(Rpc::ROTATE, "enrolled"))).await;
        let failed = calls.iter().filter(|it| it.is_err()).count();
        assert!(expected.contains(&failed), "{failed} of 200 at {share}");
        let (_, rules) = world.control(Method::GET, "faults", &json!({})).await;
        assert_eq!(rules[0]["met"], failed);
        let (status, _) = world.control(Method::DELETE, "faults", &json!({})).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn the_clock_can_be_set_ahead() {
    let world = World::new().await;
    let created = world.create().await.expect("a TOTP");
    let (_, before) = world.control(Method::GET, "clock", &json!({})).await;

    let (status, after) = world.control(Method::POST, "clock", &json!({"advance": "61m"})).await;

    assert_eq!(status, StatusCode::OK);
    assert_ne!(before, after);
    let request = json!({
        "organization_id": "works", "member_id": "fresh", "code": "000000",
        "session_token": "sandbox-session.fresh",
    });
    let status = Rpc::AUTHENTICATE.with(world.channel.clone(), request).await;
    assert_eq!(info(&status.expect_err("it has lapsed")).reason, "EXPIRED_TOTP", "{created}");
}

#[tokio::test]
async fn a_bad_request_is_refused_with_the_reason() {
    let world = World::new().await;
    for (path, body, what) in [
        ("faults", json!({"fault": {}}), "one of status"),
        ("faults", json!({"fault": {"retry_after": 1}}), "one of status"),
        ("faults", json!({"fault": {"status": 200}}), "from 300 to 599"),
        ("faults", json!({"fault": {"latency": "soon"}}), "latency"),
        ("faults", json!({"fault": {"latency": "2m"}}), "at most 60s"),
        ("faults", json!({"fault": {"cut": "off"}}), "before_answer"),
        ("faults", json!({"fault": {"latency": "1s", "takes_effect": true}}), "takes_effect"),
        ("faults", json!({"fault": {"status": 500}, "share": 1.5}), "from 0 to 1"),
        ("faults", json!({"fault": {"status": 500}, "calls": 0}), "at least 1"),
        ("faults", json!({"fault": {"status": 500, "staus": 1}}), "staus"),
        ("faults", json!({"status": 500}), "status"),
        ("clock", json!({"advance": "1"}), "unit"),
        ("clock", json!({"advance": "1000000y"}), "too far"),
    ] {
        let (status, answer) = world.control(Method::POST, path, &body).await;

        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(what), "{body}: {answer}");
    }
    for _ in 0..100 {
        world.inject(json!({"fault": {"status": 500}, "path": "/nowhere"})).await;
    }
    let (status, _) =
        world.control(Method::POST, "faults", &json!({"fault": {"status": 500}})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "there are enough rules");
}

#[tokio::test]
async fn the_control_endpoints_are_closed_unless_enabled() {
    let sandbox = support::sandbox().await;

    let answer = reqwest::get(format!("http://{sandbox}/sandbox/faults")).await.unwrap();

    assert_ne!(answer.status(), StatusCode::OK);
}
