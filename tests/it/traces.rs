//! Traces: what the spans of a call say, who decides on them, and that they cost no call anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    future::pending,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Request, transport::Channel};
use totp_facade::{
    otlp::Protocol,
    telemetry::{
        metrics::{Dropped, Format},
        trace::Root,
    },
};

use crate::support::{
    Closed, Deaf, Facade, Setup, channel, create,
    credentials::Authority,
    folder::Folder,
    http2::{Http2Peer, Reason},
    is_replayed, listener,
    otlp::{self, Receiver, events, hex, texts},
    peer::{self, Peer},
    process,
    redis::{self, Redis},
    rpc::Rpc,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

const ANSWER: &str = r#"{"secret": "S", "request_id": "request-id-test-1"}"#;

/// A façade that sends traces to `receiver`.
async fn traced(upstream: &Peer, receiver: &Receiver) -> Facade {
    let mut setup = Setup::new(upstream.addr);
    setup.traces = Some(receiver.settings());
    setup.start().await
}

/// Makes a Create call with this `traceparent`, and a `tracestate`.
async fn create_in(channel: Channel, traceparent: &str) -> Result<(), tonic::Status> {
    let mut request = Request::new((Rpc::CREATE.request)("fresh"));
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=value".parse().unwrap());
    (Rpc::CREATE.call)(channel, request).await.map(drop)
}

/// Stops a façade, which sends the last spans, and returns all of them.
async fn spans(facade: Facade, receiver: &Receiver) -> Vec<Span> {
    facade.stop().await.unwrap().expect("a clean drain");
    receiver.spans()
}

#[track_caller]
fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} in {:?}", names(spans));
    named[0]
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// Asserts that a span has these attributes and, but for addresses and ports, no others.
#[track_caller]
fn assert_says(span: &Span, expected: &[(&str, &str)]) {
    let mut texts = texts(&span.attributes);
    for varies in ["network.peer.address", "network.peer.port", "server.port", "url.full"] {
        texts.remove(varies);
    }
    let expected = expected.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    assert_eq!(texts, expected.collect::<BTreeMap<_, _>>(), "{}", span.name);
}

#[tokio::test]
async fn a_call_with_two_attempts_and_its_replay_are_traced_span_by_span() {
    let (peer, receiver) = (Http2Peer::new().await, Receiver::start(Protocol::Grpc).await);
    let mut setup = peer.setup();
    setup.traces = Some(receiver.settings());
    let facade = setup.start().await;
    peer.serve(async |mut connection| {
        let mut refuses = true;
        while let Some(request) = connection.request().await {
            match std::mem::take(&mut refuses) {
                true => connection.reset(request.stream, Reason::RefusedStream).await,
                false => connection.answer(request.stream, ANSWER).await,
            }
        }
    });

    for replayed in [false, true] {
        let answer = Rpc::CREATE.keyed(facade.channel().await, "fresh", "key").await.unwrap();
        assert_eq!(is_replayed(answer.metadata()), replayed);
    }

    let spans = spans(facade, &receiver).await;
    let [claim, refused, answered, record, call, again, replay] = &spans[..] else {
        panic!("{:?}", names(&spans))
    };
    let in_call = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", Rpc::CREATE.name),
        ("rpc.status_code", "OK"),
        ("totp_facade.caller", "anonymous"),
        ("totp_facade.upstream", "done"),
    ];
    assert_eq!((call.kind(), &*call.name), (SpanKind::Server, Rpc::CREATE.name));
    assert_says(call, &[&in_call[..], &[("totp_facade.idempotency", "executed")]].concat());
    assert_eq!(events(call), ["retry"]);
    let retry = texts(&call.events[0].attributes);
    assert_eq!(retry["error.type"], "unreachable");
    assert!(retry["backoff_ms"].parse::<u64>().unwrap() <= 50);
    assert_says(replay, &[&in_call[..], &[("totp_facade.idempotency", "replayed")]].concat());
    assert_ne!(replay.trace_id, call.trace_id);
    assert_eq!(replay.links.len(), 1);
    assert_eq!(
        (&replay.links[0].trace_id, &replay.links[0].span_id),
        (&call.trace_id, &call.span_id)
    );

    let in_attempt = [
        ("http.request.method", "POST"),
        ("url.template", "/v1/b2b/totp"),
        ("server.address", "localhost"),
    ];
    assert_says(refused, &[&in_attempt[..], &[("error.type", "unreachable")]].concat());
    assert_eq!(events(refused), ["connecting", "connected"]);
    assert_eq!(refused.status.as_ref().unwrap().code(), StatusCode::Error);
    let of_answer = [
        ("http.request.resend_count", "1"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "2"),
        ("stytch.request_id", "request-id-test-1"),
    ];
    assert_says(answered, &[&in_attempt[..], &of_answer].concat());
    assert_eq!(events(answered), ["first_byte"]);
    assert!(texts(&answered.attributes)["url.full"].ends_with("/v1/b2b/totp"));

    let in_store =
        |operation| [("totp_facade.store", "memory"), ("totp_facade.store.operation", operation)];
    assert_says(
        claim,
        &[&in_store("claim")[..], &[("totp_facade.store.result", "granted")]].concat(),
    );
    assert_says(record, &in_store("record"));
    assert_says(
        again,
        &[&in_store("claim")[..], &[("totp_facade.store.result", "ended")]].concat(),
    );
    for (part, kind, whole) in [
        (claim, SpanKind::Internal, call),
        (refused, SpanKind::Client, call),
        (answered, SpanKind::Client, call),
        (record, SpanKind::Internal, call),
        (again, SpanKind::Internal, replay),
    ] {
        assert_eq!(part.kind(), kind);
        assert_eq!((&part.trace_id, &part.parent_span_id), (&whole.trace_id, &whole.span_id));
        assert!(whole.start_time_unix_nano <= part.start_time_unix_nano);
        assert!(part.end_time_unix_nano <= whole.end_time_unix_nano);
    }
    assert_eq!(receiver.resource()["service.name"], "tested");
}

#[tokio::test]
async fn a_replay_by_another_replica_links_to_the_span_of_the_call() {
    let Some(redis) = Redis::start().await else { return };
    let upstream = Peer::answering(peer::json(200, ANSWER)).await;
    let receivers = [Receiver::start(Protocol::Grpc).await, Receiver::start(Protocol::Http).await];
    let mut calls = Vec::new();

    for receiver in &receivers {
        let mut setup = Setup::new(upstream.addr);
        setup.idempotency.store = redis::store(&redis.url());
        setup.traces = Some(receiver.settings());
        let facade = setup.start().await;
        Rpc::CREATE.keyed(facade.channel().await, "fresh", "key").await.expect("an answer");
        let spans = spans(facade, receiver).await;
        let claim = one(&spans, "idempotency claim");
        assert_eq!(claim.kind(), SpanKind::Client);
        assert_eq!(texts(&claim.attributes)["db.system.name"], "redis");
        calls.push(one(&spans, Rpc::CREATE.name).clone());
    }

    let [call, replay] = &calls[..] else { unreachable!() };
    assert!(call.links.is_empty());
    let [link] = &replay.links[..] else { panic!("{replay:?}") };
    assert_eq!((&link.trace_id, &link.span_id), (&call.trace_id, &call.span_id));
    assert_eq!(texts(&replay.attributes)["totp_facade.idempotency"], "replayed");
}

#[tokio::test]
async fn the_trace_and_the_decision_of_a_caller_are_taken_and_a_malformed_one_is_ignored() {
    let receiver = Receiver::start(Protocol::Http).await;
    let facade = traced(&Peer::answering(peer::json(200, ANSWER)).await, &receiver).await;
    let channel = facade.channel().await;
    let zeros = "0".repeat(32);
    for traceparent in [
        format!("00-{TRACE}-{PARENT}-01"),
        format!("00-{TRACE}-{PARENT}-00"),
        format!("cc-{TRACE}-{PARENT}-01-of-the-future"),
        "malformed".to_owned(),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("00-{zeros}-{PARENT}-01"),
        format!("00-{TRACE}-{}-01", &zeros[..16]),
    ] {
        create_in(channel.clone(), &traceparent).await.expect("an answer");
    }

    drop(channel);
    let spans = spans(facade, &receiver).await;
    let calls: Vec<_> = spans.iter().filter(|it| it.kind() == SpanKind::Server).collect();
    let [first, future, malformed @ ..] = &calls[..] else { panic!("{:?}", names(&spans)) };
    for followed in [first, future] {
        let parent = (hex(&followed.trace_id), hex(&followed.parent_span_id));
        assert_eq!(parent, (TRACE.into(), PARENT.into()));
        assert_eq!(followed.trace_state, "vendor=value");
    }
    assert_eq!(malformed.len(), 4);
    for own in malformed {
        assert_ne!(hex(&own.trace_id), TRACE);
        assert!(own.parent_span_id.is_empty() && own.trace_state.is_empty());
    }
}

#[tokio::test]
async fn stytch_gets_no_trace_unless_that_is_set_and_then_that_of_its_attempt() {
    for is_passed_on in [false, true] {
        let mut upstream = Peer::answering(peer::json(200, ANSWER)).await;
        let receiver = Receiver::start(Protocol::Http).await;
        let mut setup = Setup::new(upstream.addr);
        let mut traces = receiver.settings();
        traces.options.is_passed_on = is_passed_on;
        setup.traces = Some(traces);
        let facade = setup.start().await;
        let mut request = Request::new((Rpc::CREATE.request)("fresh"));
        let traceparent = format!("00-{TRACE}-{PARENT}-01");
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        request.metadata_mut().insert("tracestate", "vendor=value".parse().unwrap());

        (Rpc::CREATE.call)(facade.channel().await, request).await.expect("an answer");

        let sent = upstream.request().await;
        let spans = spans(facade, &receiver).await;
        let attempt = one(&spans, "POST /v1/b2b/totp");
        let expected = format!("00-{TRACE}-{}-01", hex(&attempt.span_id));
        let expected = is_passed_on.then_some((expected.as_str(), "vendor=value"));
        assert_eq!(sent.header("traceparent").zip(sent.header("tracestate")), expected);
        assert_eq!(sent.header("traceparent").is_some(), is_passed_on);
    }
}

#[tokio::test]
async fn ids_of_members_are_in_spans_only_if_that_is_set() {
    for shows_ids in [false, true] {
        let upstream = Peer::answering(peer::json(200, Rpc::GET.answer)).await;
        let receiver = Receiver::start(Protocol::Grpc).await;
        let mut setup = Setup::new(upstream.addr);
        let mut traces = receiver.settings();
        traces.options.shows_ids = shows_ids;
        setup.traces = Some(traces);
        let facade = setup.start().await;

        Rpc::GET.try_for(facade.channel().await, "fresh").await.expect("an answer");

        let spans = spans(facade, &receiver).await;
        let attempt = texts(&spans[0].attributes);
        let path = if shows_ids { "example-works/fresh" } else { "REDACTED/REDACTED" };
        assert!(attempt["url.full"].ends_with(path), "{attempt:?}");
        let all = format!("{spans:?}");
        assert_eq!(all.contains("example-works"), shows_ids, "{all}");
        assert_eq!(all.contains("fresh"), shows_ids, "{all}");
        assert_eq!(texts(&spans[1].attributes).contains_key("stytch.member_id"), shows_ids);
    }
}

#[tokio::test]
async fn long_ids_are_cut_in_spans() {
    let upstream = Peer::answering(peer::json(200, Rpc::GET.answer)).await;
    let receiver = Receiver::start(Protocol::Grpc).await;
    let mut setup = Setup::new(upstream.addr);
    let mut traces = receiver.settings();
    traces.options.shows_ids = true;
    setup.traces = Some(traces);
    let facade = setup.start().await;
    let id = "\u{fc}".repeat(5000);

    Rpc::GET.try_for(facade.channel().await, &id).await.expect("an answer");

    let spans = spans(facade, &receiver).await;
    let (attempt, call) = (texts(&spans[0].attributes), texts(&spans[1].attributes));
    assert_eq!(call["stytch.member_id"], "\u{fc}".repeat(128));
    assert_eq!(attempt["url.full"].len(), 256, "{attempt:?}");
}

#[tokio::test]
async fn what_this_service_does_not_record_is_no_exemplar_although_its_caller_records_it() {
    for is_recorded in [false, true] {
        let upstream = Peer::answering(peer::json(200, ANSWER)).await;
        let receiver = Receiver::start(Protocol::Grpc).await;
        let mut setup = Setup::new(upstream.addr);
        setup.traces = is_recorded.then(|| receiver.settings());
        let facade = setup.start().await;

        let traceparent = format!("00-{TRACE}-{PARENT}-01");
        create_in(facade.channel().await, &traceparent).await.expect("an answer");

        let page = facade.metrics.page(Format::OpenMetrics);
        assert_eq!(page.contains(TRACE), is_recorded, "{page}");
        assert!(!page.contains(PARENT), "that is a span of the caller's: {page}");
    }
}

#[tokio::test]
async fn a_refused_call_has_a_span_with_the_reason_and_a_probe_has_none() {
    let receiver = Receiver::start(Protocol::Grpc).await;
    let facade = traced(&Peer::answering(peer::json(200, ANSWER)).await, &receiver).await;
    let channel = facade.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("healthy");
    facade.client().await.create(create("")).await.expect_err("no member");

    drop((channel, health));
    let spans = spans(facade, &receiver).await;
    let [call] = &spans[..] else { panic!("{:?}", names(&spans)) };
    assert_says(
        call,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.method", Rpc::CREATE.name),
            ("rpc.status_code", "INVALID_ARGUMENT"),
            ("totp_facade.caller", "anonymous"),
            ("totp_facade.upstream", "not_sent"),
            ("totp_facade.reason", "INVALID_REQUEST"),
        ],
    );
    assert_eq!(call.status.as_ref().unwrap().code(), StatusCode::Unset, "the caller's mistake");
}

#[tokio::test]
async fn the_span_of_a_call_whose_caller_has_gone_lasts_to_its_real_end() {
    let (mut upstream, answer) = Peer::patient(peer::json(200, ANSWER)).await;
    let receiver = Receiver::start(Protocol::Grpc).await;
    let facade = traced(&upstream, &receiver).await;
    let call = tokio::spawn(Rpc::CREATE.try_for(facade.channel().await, "fresh"));
    upstream.request().await;

    call.abort();
    let _ = call.await;
    let stopping = facade.stop();
    answer.notify_one();
    stopping.await.unwrap().expect("a clean drain");

    let spans = receiver.spans();
    let [attempt, call] = &spans[..] else { panic!("{:?}", names(&spans)) };
    let says = texts(&call.attributes);
    assert_eq!(texts(&attempt.attributes)["http.response.status_code"], "200");
    assert_eq!(says["totp_facade.upstream"], "done");
    assert_eq!(says["rpc.status_code"], "CANCELLED");
    assert_eq!(events(call), ["caller_gone"]);
    assert!(attempt.end_time_unix_nano <= call.end_time_unix_nano);
}

#[tokio::test]
async fn the_span_of_a_call_whose_deadline_passed_says_so_and_what_became_of_it() {
    let (mut upstream, answer) = Peer::patient(peer::json(200, ANSWER)).await;
    let receiver = Receiver::start(Protocol::Grpc).await;
    let facade = traced(&upstream, &receiver).await;
    let mut request = Request::new((Rpc::CREATE.request)("fresh"));
    request.set_timeout(Duration::from_millis(300));
    let channel = facade.channel().await;
    let call = tokio::spawn(async move { (Rpc::CREATE.call)(channel, request).await });
    upstream.request().await;

    call.await.unwrap().expect_err("the deadline");
    let stopping = facade.stop();
    answer.notify_one();
    stopping.await.unwrap().expect("a clean drain");

    let spans = receiver.spans();
    let call = one(&spans, Rpc::CREATE.name);
    let says = texts(&call.attributes);
    assert_eq!(says["rpc.status_code"], "DEADLINE_EXCEEDED");
    assert_eq!(says["totp_facade.upstream"], "done");
    assert_eq!(says["totp_facade.reason"], "DEADLINE_EXCEEDED");
    assert_eq!(events(call), ["deadline_passed"]);
    assert_eq!(call.status.as_ref().unwrap().code(), StatusCode::Error);
}

#[tokio::test]
async fn a_receiver_that_is_slow_refuses_or_is_away_costs_no_call_anything() {
    // A call that waited for a receiver would take as long. The end of the process takes less than
    // its limit of five seconds, so that every span is counted.
    const TIMEOUT: Duration = Duration::from_secs(2);
    let (closed, deaf, silent) = (Closed::new(), Deaf::new().await, listener().await);
    // It serves other things, by gRPC and by HTTP.
    let refusing = Facade::in_front_of(closed.addr).await;
    for (addr, protocol, reason) in [
        (closed.addr, Protocol::Grpc, Dropped::NotSent),
        (closed.addr, Protocol::Http, Dropped::NotSent),
        (refusing.addr, Protocol::Grpc, Dropped::Refused),
        (refusing.admin, Protocol::Http, Dropped::Refused),
        (deaf.addr, Protocol::Grpc, Dropped::NotSent),
        (silent.local_addr().unwrap(), Protocol::Http, Dropped::NotSent),
    ] {
        let upstream = Peer::answering(peer::json(200, ANSWER)).await;
        let mut setup = Setup::new(upstream.addr);
        let mut traces = otlp::settings(addr, protocol);
        traces.timeout = TIMEOUT;
        setup.traces = Some(traces);
        setup.server.drain_timeout = Duration::from_secs(3);
        let facade = setup.start().await;
        let (channel, metrics) = (facade.channel().await, facade.metrics.clone());

        for _ in 0..20 {
            let start = Instant::now();
            Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("an answer");
            assert!(start.elapsed() < TIMEOUT, "{protocol:?} {reason:?}");
        }

        drop(channel);
        let start = Instant::now();
        facade.stop().await.unwrap().expect("a clean drain");
        assert!(start.elapsed() < Duration::from_secs(4), "within the drain's limit");
        assert_eq!(metrics.trace_spans_dropped.get(reason).get(), 40, "{protocol:?} {reason:?}");
    }
}

/// Starts a receiver that gives every request this answer.
async fn answering(status: u16, retry_after: &'static str, body: Vec<u8>) -> SocketAddr {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    let status = http::StatusCode::from_u16(status).unwrap();
    let answer = move || async move { (status, [("retry-after", retry_after)], body) };
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(answer));
    tokio::spawn(async { axum::serve(listener, router).await });
    addr
}

/// Starts a receiver that closes each connection once a request comes.
async fn closing() -> SocketAddr {
    let peer = Peer::start(|connection| async move {
        connection.readable().await;
        connection.reset();
    });
    peer.await.addr
}

#[tokio::test]
async fn what_a_receiver_says_of_spans_is_counted() {
    let rejected = ExportTracePartialSuccess { rejected_spans: 1, error_message: "no".into() };
    let partial = ExportTraceServiceResponse { partial_success: Some(rejected) }.encode_to_vec();
    for (receiver, exported, refused, not_sent, what) in [
        (answering(200, "", Vec::new()).await, 2, 0, 0, "it takes them"),
        (answering(200, "", b"<html>".to_vec()).await, 2, 0, 0, "it takes them, and answers oddly"),
        (answering(200, "", partial).await, 1, 1, 0, "it takes one of them"),
        (answering(400, "", Vec::new()).await, 0, 2, 0, "it refuses them"),
        (answering(503, "1", Vec::new()).await, 0, 0, 2, "it refuses them for now"),
        (closing().await, 0, 0, 2, "it closes the connection"),
    ] {
        let upstream = Peer::answering(peer::json(200, ANSWER)).await;
        let mut setup = Setup::new(upstream.addr);
        setup.traces = Some(otlp::settings(receiver, Protocol::Http));
        let facade = setup.start().await;
        let metrics = facade.metrics.clone();

        Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("an answer");
        facade.stop().await.unwrap().expect("a clean drain");

        let dropped = |reason| metrics.trace_spans_dropped.get(reason).get();
        let counted = (
            metrics.trace_spans_exported.get(),
            dropped(Dropped::Refused),
            dropped(Dropped::NotSent),
        );
        assert_eq!(counted, (exported, refused, not_sent), "{what}");
    }
}

#[tokio::test]
async fn the_last_spans_are_sent_although_an_earlier_request_waits_or_hangs() {
    for hangs in [true, false] {
        let listener = listener().await;
        let addr = listener.local_addr().unwrap();
        let (asked, mut is_asked) = mpsc::unbounded_channel();
        let is_first = Arc::new(AtomicBool::new(true));
        let answer = async move || {
            let is_first = is_first.swap(false, Relaxed);
            asked.send(()).unwrap();
            match (is_first, hangs) {
                (true, true) => pending().await,
                (true, false) => {
                    Err((http::StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "9")]))
                }
                (false, _) => Ok(()),
            }
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(answer));
        tokio::spawn(async { axum::serve(listener, router).await });
        let upstream = Peer::answering(peer::json(200, ANSWER)).await;
        let mut setup = Setup::new(upstream.addr);
        setup.traces = Some(otlp::settings(addr, Protocol::Http));
        let facade = setup.start().await;
        let metrics = facade.metrics.clone();
        Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("an answer");
        is_asked.recv().await.expect("the first request");

        let start = Instant::now();
        facade.stop().await.unwrap().expect("a clean drain");

        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert_eq!(metrics.trace_spans_exported.get(), 2, "hangs: {hangs}");
    }
}

#[tokio::test]
async fn a_receiver_that_never_answers_delays_no_call_and_the_end_no_longer_than_the_drain() {
    let silent = listener().await;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let upstream = Peer::answering(peer::json(200, ANSWER)).await;
        let mut setup = Setup::new(upstream.addr);
        let mut traces = otlp::settings(silent.local_addr().unwrap(), protocol);
        traces.timeout = Duration::from_secs(600);
        setup.traces = Some(traces);
        setup.server.drain_timeout = Duration::from_secs(1);
        let facade = setup.start().await;
        let channel = facade.channel().await;

        // The first spans are being sent while the last calls are made.
        let mut slowest = Duration::ZERO;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1500) {
            let start = Instant::now();
            Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("an answer");
            slowest = slowest.max(start.elapsed());
        }
        drop(channel);
        let start = Instant::now();
        facade.stop().await.unwrap().expect("a clean drain");

        let took = start.elapsed();
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_off_where_the_sdk_is_disabled_or_the_exporter_is_none() {
    for (name, value, expected) in [
        ("OTEL_SDK_DISABLED", "false", 2),
        ("OTEL_SDK_DISABLED", "TRUE", 0),
        ("OTEL_TRACES_EXPORTER", "OTLP", 2),
        ("OTEL_TRACES_EXPORTER", "none", 0),
    ] {
        let receiver = Receiver::start(Protocol::Http).await;
        let upstream = Peer::answering(peer::json(200, ANSWER)).await;
        let mut command = process::serve(&format!("http://{}", upstream.addr), "secret-test-1");
        let endpoint = format!("http://{}", receiver.addr);
        command.args(["--drain-delay", "0s"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        command.env(name, value);
        let (server, url) = process::start(command);

        Rpc::CREATE.try_for(channel(&url).await, "fresh").await.expect("an answer");

        server.signal("TERM");
        assert_eq!(server.end().0, Some(0));
        assert_eq!(receiver.spans().len(), expected, "{name}={value}");
    }
}

#[tokio::test]
async fn a_receiver_with_tls_is_trusted_by_its_authority_and_gets_the_headers() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (certificate, key) = authority.certify(&["dns:localhost"], false);
    let receiver = Receiver::start_with_tls(&certificate, &key).await;
    let upstream = Peer::answering(peer::json(200, ANSWER)).await;
    let mut setup = Setup::new(upstream.addr);
    let mut traces = receiver.settings();
    traces.endpoint = format!("https://localhost:{}", receiver.addr.port()).parse().unwrap();
    traces.ca_file = Some(folder.write("ca.pem", &authority.certificate.pem()));
    traces.headers.insert("x-tenant", "tested".parse().unwrap());
    setup.traces = Some(traces);
    let facade = setup.start().await;

    Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("an answer");

    assert_eq!(spans(facade, &receiver).await.len(), 2);
    receiver.each(|got| assert_eq!(got.headers["x-tenant"], "tested"));
}

#[tokio::test]
async fn requests_are_compressed_if_that_is_set() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for is_compressed in [false, true] {
            let receiver = Receiver::start(protocol).await;
            let mut setup = Setup::new(Peer::answering(peer::json(200, ANSWER)).await.addr);
            let mut traces = receiver.settings();
            traces.is_compressed = is_compressed;
            setup.traces = Some(traces);
            let facade = setup.start().await;

            Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("an answer");

            assert_eq!(spans(facade, &receiver).await.len(), 2);
            receiver.each(|got| {
                let names = ["grpc-encoding", "content-encoding"];
                let encoding = names.into_iter().find_map(|name| got.headers.get(name));
                let encoding = encoding.map(|it| it.to_str().unwrap());
                assert_eq!(encoding, is_compressed.then_some("gzip"), "{protocol:?}");
            });
        }
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent() {
    let receiver = Receiver::start(Protocol::Grpc).await;
    let mut setup = Setup::new(Peer::answering(peer::json(200, ANSWER)).await.addr);
    let mut traces = receiver.settings();
    traces.options.sampler.root = Root::None;
    setup.traces = Some(traces);
    let facade = setup.start().await;

    Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("an answer");

    assert!(spans(facade, &receiver).await.is_empty());
}

#[test]
fn a_bad_variable_of_opentelemetry_ends_the_start_with_a_clear_error() {
    for (name, value, problem) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:never-printed@b", "must not hold credentials"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "neither grpc nor http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "thrift", "neither grpc nor http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "never-printed", "NAME=VALUE"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=never%0Aprinted", "the value of a"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "neither gzip nor none"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "deflate", "neither gzip nor none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "1 to 600000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "1 to 600000"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file", "/no/such/file"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/no/such/file", "/no/such/file"),
        ("OTEL_RESOURCE_ATTRIBUTES", "name", "NAME=VALUE"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "traceidratio"),
        ("OTEL_SDK_DISABLED", "yes", "neither true nor false"),
        ("OTEL_TRACES_EXPORTER", "console", "neither otlp nor none"),
        ("TOTP_FACADE_TRACE_PROPAGATION", "true", "needs OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("TOTP_FACADE_TRACE_IDS", "true", "needs OTEL_EXPORTER_OTLP_ENDPOINT"),
    ] {
        let mut command = process::serve("http://127.0.0.1:1", "secret-test-1");
        let output = command.env(name, value).output().unwrap();

        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{name}: {text}");
        assert!(text.contains(&format!("{name}: ")) && text.contains(problem), "{text}");
        assert!(!text.contains("never-printed"), "{text}");
    }
    let mut command = process::serve("http://127.0.0.1:1", "secret-test-1");
    command.env("OTEL_TRACES_SAMPLER", "traceidratio").env("OTEL_TRACES_SAMPLER_ARG", "2");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8(output.stderr).unwrap().contains("OTEL_TRACES_SAMPLER_ARG: "));
}

/// Runs `check`, or starts `serve`, with traces and these variables. Returns what it says of
/// variables that have no effect.
fn said_of_ignored(mut command: Command, variables: &[(&str, &str)]) -> BTreeSet<String> {
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    command.envs(variables.iter().copied());
    let text = match command.get_args().any(|arg| arg == "check") {
        true => String::from_utf8(command.output().unwrap().stdout).unwrap(),
        false => {
            let (server, _) = process::start(command);
            server.signal("TERM");
            server.end().2
        }
    };
    let found = text.lines().filter_map(|line| {
        let begin = line.find("OTEL_")?;
        let rest = line[begin..].trim_end_matches('.');
        rest.contains(" has no effect: ").then(|| rest.to_owned())
    });
    found.collect()
}

#[test]
fn variables_of_opentelemetry_that_have_no_effect_are_named_with_what_holds_instead() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/traces.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("| variable | what holds |\n|---|---|\n").unwrap();
    let rows: Vec<_> = table
        .lines()
        .map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .collect();
    let mut expected = BTreeSet::new();
    for (names, instead) in &rows {
        let names = names.split('`').filter(|name| name.starts_with("OTEL_"));
        expected.extend(names.map(|name| format!("{name} has no effect: {instead}")));
    }
    let names: Vec<_> = expected.iter().map(|it| it.split(' ').next().unwrap()).collect();
    let variables: Vec<_> = names.iter().map(|name| (*name, "never-printed")).collect();
    let serve = || {
        let mut serve = process::serve("http://127.0.0.1:1", "secret-test-1");
        serve.args(["--drain-delay", "0s", "--log-format", "text"]);
        serve
    };
    let check = || {
        let mut check = process::program(&["check"]);
        check.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "secret-test-1");
        check
    };

    assert_eq!(said_of_ignored(check(), &variables), expected);
    assert_eq!(said_of_ignored(serve(), &variables), expected);

    let propagators = "OTEL_PROPAGATORS";
    for (name, value, is_said) in [
        (propagators, "tracecontext,baggage", false),
        (propagators, " TraceContext ", false),
        (propagators, "baggage", true),
        (propagators, "tracecontext,b3", true),
        (propagators, "none", true),
        (propagators, "", false),
        ("OTEL_EXPORTER_OTLP_INSECURE", "True", false),
        ("OTEL_EXPORTER_OTLP_INSECURE", "false", true),
        ("OTEL_BSP_SCHEDULE_DELAY", "", false),
    ] {
        let said = said_of_ignored(check(), &[(name, value)]);
        assert_eq!(!said.is_empty(), is_said, "{name}={value}: {said:?}");
    }
    let disabled = [("OTEL_SDK_DISABLED", "true"), (propagators, "b3")];
    assert!(said_of_ignored(check(), &disabled).is_empty(), "traces are off");
}

#[test]
fn check_says_where_traces_go_and_shows_no_header() {
    let check = |variables: &[(&str, &str)]| {
        let mut command = process::program(&["check"]);
        command.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "secret-test-1");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    assert!(check(&[]).contains("OTEL_EXPORTER_OTLP_ENDPOINT=(not set: no traces)\n"));
    let text = check(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20never-printed"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=named,deployment.environment.name=test"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/Protobuf"),
        ("OTEL_TRACES_SAMPLER", "ParentBased_TraceIdRatio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ("OTEL_SDK_DISABLED", "False"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
    ]);
    for line in [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4318/v1/traces",
        "OTEL_EXPORTER_OTLP_HEADERS=(set, not shown)",
        "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
        "OTEL_SERVICE_NAME=named",
        "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG=0.01",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in {text}");
    }
    assert!(!text.contains("never-printed"), "{text}");
}
