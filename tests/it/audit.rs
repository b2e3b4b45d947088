//! The audit trail that a process writes.

use serde_json::{Value, json};
use tonic::{Response, Status, transport::Channel};

use crate::{
    secrets::STYTCH_SECRET,
    support::{
        Closed, channel, fixture,
        peer::{self, Peer},
        process::{Server, serve, start},
        rpc::Rpc,
    },
};

/// Starts a façade in front of `upstream` that logs JSON.
async fn facade(upstream: std::net::SocketAddr, flags: &[&str]) -> (Server, Channel) {
    let mut command = serve(&format!("http://{upstream}"), STYTCH_SECRET);
    command.args(["--drain-delay", "0s", "--log-format", "json"]).args(flags);
    let (server, url) = start(command);
    (server, channel(&url).await)
}

/// Returns the published schema of an event.
fn schema() -> jsonschema::Validator {
    let page = include_str!("../../docs/audit.md");
    let schema = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
}

/// Stops the server and returns its audit events, each checked against the schema.
fn trail(server: Server) -> Vec<Value> {
    server.signal("TERM");
    let (_, _, stderr) = server.end();
    let schema = schema();
    // The last line may be a plain error message of the program.
    let lines = stderr.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let trail: Vec<_> = lines.filter(|line| line["target"] == "audit").collect();
    for event in &trail {
        if let Err(error) = schema.validate(event) {
            panic!("{error}: {event:#}");
        }
    }
    trail
}

async fn create(channel: Channel, keyed: bool) -> Result<Response<Value>, Status> {
    match keyed {
        false => Rpc::CREATE.try_for(channel, "fresh").await,
        true => Rpc::CREATE.keyed(channel, "fresh", "key").await,
    }
}

/// Returns the fields of an event that say what happened.
fn gist(event: &Value) -> [&str; 4] {
    ["method", "outcome", "code", "idempotency"].map(|field| event[field].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mutating_call_is_audited_once_in_the_published_form() {
    let error = fixture("error-400-active_totp_exists.json");
    let expected_error: Value = serde_json::from_str(&error).unwrap();
    for rpc in Rpc::mutating() {
        let success = fixture(&format!("{}.response.json", rpc.example));
        let expected: Value = serde_json::from_str(&success).unwrap();
        let answers = [peer::json(200, &success), peer::json(400, &error), peer::json(500, "")];
        let peer = Peer::start(move |mut connection| {
            let mut answers = answers.clone().into_iter();
            async move {
                while connection.request().await {
                    connection.send(answers.next().unwrap()).await;
                }
            }
        })
        .await;
        let (server, channel) = facade(peer.addr, &[]).await;

        rpc.try_for(channel.clone(), "fresh").await.expect("an answer");
        rpc.keyed(channel.clone(), "fresh", "rejected").await.expect_err("a refusal");
        rpc.keyed(channel.clone(), "fresh", "rejected").await.expect_err("the same");
        rpc.keyed(channel, "fresh", "unknown").await.expect_err("a failure");

        let trail = trail(server);
        assert_eq!(
            trail.iter().map(gist).collect::<Vec<_>>(),
            [
                [rpc.name, "done", "OK", "none"],
                [rpc.name, "rejected", "ALREADY_EXISTS", "fresh"],
                [rpc.name, "rejected", "ALREADY_EXISTS", "replayed"],
                [rpc.name, "unknown", "UNKNOWN", "fresh"],
            ]
        );
        for event in &trail {
            assert_eq!(event["organization_id"], "example-works");
            assert_eq!(event["member_id"], "fresh");
        }
        let [done, rejected, replayed, unknown] = <[Value; 4]>::try_from(trail).unwrap();
        assert_eq!(done["stytch_request_id"], expected["request_id"], "{}", rpc.name);
        let registration = expected.get("totp_registration_id");
        assert_eq!(done.get("totp_registration_id"), registration, "{}", rpc.name);
        for event in [rejected, replayed] {
            assert_eq!(event["error_type"], "active_totp_exists");
            assert_eq!(event["stytch_request_id"], expected_error["request_id"]);
        }
        assert_eq!(unknown.get("error_type"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_unsent_calls_are_not_audited() {
    let peer = Peer::answering(peer::json(200, Rpc::GET.answer)).await;
    let (reads, channel) = facade(peer.addr, &[]).await;
    Rpc::GET.try_for(channel.clone(), "fresh").await.expect("an answer");
    Rpc::CREATE.try_for(channel, "").await.expect_err("an invalid request");
    let closed = Closed::new();
    let (dead, channel) = facade(closed.addr, &[]).await;
    Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect_err("it is closed");
    Rpc::CREATE.keyed(channel, "fresh", "key").await.expect_err("it is closed");

    for server in [reads, dead] {
        assert_eq!(trail(server), Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_caller_went_away_is_audited_with_its_outcome() {
    for keyed in [false, true] {
        let (mut peer, tell) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
        let (server, channel) = facade(peer.addr, &[]).await;
        let call = tokio::spawn(create(channel, keyed));
        peer.request().await;
        call.abort();
        let _ = call.await;
        tell.notify_one();

        // The drain waits for the call, so the trail has its outcome.
        let idempotency = if keyed { "fresh" } else { "none" };
        let trail = trail(server);
        assert_eq!(
            trail.iter().map(gist).collect::<Vec<_>>(),
            [[Rpc::CREATE.name, "done", "OK", idempotency]]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_cut_by_the_drain_is_audited_as_unknown() {
    for (keyed, workers) in [(false, "1"), (true, "1"), (false, "3"), (true, "3")] {
        let mut peer = Peer::start(|mut connection| async move {
            connection.request().await;
            connection.hold().await;
        })
        .await;
        let flags = ["--drain-timeout", "100ms", "--worker-threads", workers];
        let (server, channel) = facade(peer.addr, &flags).await;
        let call = tokio::spawn(create(channel, keyed));
        peer.request().await;

        let trail = trail(server);

        let idempotency = if keyed { "fresh" } else { "none" };
        assert_eq!(
            trail.iter().map(gist).collect::<Vec<_>>(),
            [[Rpc::CREATE.name, "unknown", "UNKNOWN", idempotency]]
        );
        call.await.unwrap().expect_err("it was cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_ignores_the_log_level_unless_it_is_named() {
    let peer = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    for (filter, events) in [("info", 1), ("error", 1), ("off", 1), ("info,audit=off", 0)] {
        let (server, channel) = facade(peer.addr, &["--log", filter]).await;

        Rpc::CREATE.try_for(channel, "fresh").await.expect("an answer");

        assert_eq!(trail(server).len(), events, "{filter}");
    }
}

#[test]
fn the_schema_rejects_unknown_fields_and_values() {
    let schema = schema();
    let event = json!({
        "timestamp": "2026-01-01T00:00:00.000001Z", "level": "INFO", "target": "audit",
        "message": "call ended", "caller": "anonymous", "method": Rpc::CREATE.name,
        "organization_id": "o", "member_id": "m", "outcome": "done", "code": "OK",
        "duration_ms": 3, "idempotency": "none",
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
    });
    assert!(schema.is_valid(&event));

    for (field, value) in [
        ("secret", json!("S")),
        ("outcome", json!("fine")),
        ("duration_ms", json!("3")),
        ("error_type", json!("of_a_success")),
        ("code", json!("UNKNOWN")),
    ] {
        let mut other = event.clone();
        other[field] = value;
        assert!(!schema.is_valid(&other), "{field}");
    }
}
