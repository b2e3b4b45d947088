//! Standard errors that are slow, full or gone: calls that owe no audit event do not notice, those
//! that do wait for theirs, and none is lost as long as somebody may read it.

use std::{
    fs::File,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, future::join_all, stream};
use http::{HeaderMap, HeaderValue};
use tokio::{sync::Barrier, task::JoinHandle, time::timeout};
use tonic::{Code, Response, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use crate::{
    secrets::STYTCH_SECRET,
    support::{
        PATIENCE, channel, fixture,
        folder::Folder,
        info,
        peer::{self, Peer},
        process::{Server, serve},
        pushback,
        redis::Redis,
        rpc::Rpc,
        scrape::{self, Page},
        stderr::{Lines, Unread, after, read},
    },
};

/// What a call takes at most that does not wait for standard error: less than a connection would
/// wait, and far more than a call takes.
const PROMPT: Duration = Duration::from_millis(900);

/// Stytch, which answers reads and everything else with success.
async fn stytch() -> Peer {
    Peer::start(|mut connection| async move {
        while let Some(request) = connection.next().await {
            let reads = request.line().starts_with("GET ");
            connection.keep(request);
            let answer = if reads { Rpc::GET.answer } else { Rpc::CREATE.answer };
            connection.send(peer::json(200, answer)).await;
        }
    })
    .await
}

/// Returns a façade that logs JSON.
fn command(peer: &Peer, flags: &[&str]) -> Command {
    let mut command = serve(&format!("http://{}", peer.addr), STYTCH_SECRET);
    command.env("TOTP_FACADE_LOG_FORMAT", "json").args(["--drain-delay", "0s"]).args(flags);
    command
}

/// A façade that runs as a process.
struct Facade {
    server: Server,
    grpc: SocketAddr,
    admin: SocketAddr,
    channel: Channel,
}

impl Facade {
    async fn start(command: Command, stderr: impl Into<Stdio>) -> Self {
        let mut server = Server::start_with(command, stderr);
        let (grpc, admin) = (server.addr("grpc"), server.addr("admin"));
        let channel = channel(&format!("http://{grpc}")).await;
        Self { server, grpc, admin, channel }
    }

    /// Makes a call in a task, and waits until Stytch has got it.
    async fn begin(&self, peer: &mut Peer, member: &str) -> Call {
        let (channel, member) = (self.channel.clone(), member.to_owned());
        let call = tokio::spawn(async move { Rpc::CREATE.try_for(channel, &member).await });
        peer.request().await;
        call
    }

    async fn page(&self) -> Page {
        scrape::page(self.admin).await
    }

    /// Stops it, and returns its exit code.
    fn stop(self) -> Option<i32> {
        drop(self.channel);
        self.server.signal("TERM");
        self.server.end().0
    }
}

type Call = JoinHandle<Result<Response<serde_json::Value>, Status>>;

/// Waits until a call has its success.
async fn succeeds(call: Call) {
    timeout(PATIENCE, call).await.expect("an end").unwrap().expect("an answer");
}

/// Waits for what does not wait for standard error.
async fn prompt<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PROMPT, work).await.unwrap_or_else(|_| panic!("{what} waits"))
}

/// Does all that owes no audit event. None of it waits.
async fn goes_on(facade: &Facade, peer: &mut Peer) {
    for _ in 0..20 {
        let read = Rpc::GET.try_for(facade.channel.clone(), "fresh");
        prompt("a read", read).await.expect("an answer");
        peer.request().await;
        let invalid = Rpc::CREATE.try_for(facade.channel.clone(), "");
        let refused = prompt("a refusal", invalid).await.expect_err("it is invalid");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let mut health = HealthClient::new(facade.channel.clone());
    let check = health.check(HealthCheckRequest::default());
    prompt("health", check).await.expect("it serves");
    prompt("reflection", services(facade.channel.clone())).await;
    for path in ["livez", "readyz", "metrics"] {
        let get = reqwest::get(format!("http://{}/{path}", facade.admin));
        assert!(prompt(path, get).await.unwrap().status().is_success(), "{path}");
    }
}

/// Asks for the services by reflection.
async fn services(channel: Channel) {
    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let asks = stream::once(async { ask }).chain(stream::pending());
    let answers = ServerReflectionClient::new(channel).server_reflection_info(asks).await;
    answers.unwrap().into_inner().message().await.expect("an answer").expect("a message");
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("member-{number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_reads_standard_error_only_calls_that_owe_an_event_wait() {
    for (pipe, flags) in [
        (Unread::pipe(), ["--worker-threads", "1"]),
        (Unread::small_pipe(), ["--worker-threads", "2"]),
    ] {
        let mut peer = stytch().await;
        let Unread(reader, writer) = pipe.full();
        let facade = Facade::start(command(&peer, &flags), writer).await;
        let members = names(8);
        let mut calls = Vec::new();
        for member in &members {
            calls.push(facade.begin(&mut peer, member).await);
        }

        goes_on(&facade, &mut peer).await;

        assert!(
            calls.iter().all(|call| !call.is_finished()),
            "a call was answered without its event"
        );
        let lines = read(reader, 64 * 1024);
        join_all(calls.into_iter().map(succeeds)).await;
        assert_eq!(facade.stop(), Some(0));
        let mut audited = lines.join().unwrap().members();
        audited.sort();
        assert_eq!(audited, members);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_that_standard_error_is_blocked_until_somebody_reads_it() {
    let gauge = |what: &str| format!("totp_facade_audit_{what}");
    let mut peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe().full();
    let facade = Facade::start(command(&peer, &[]), writer).await;

    let mut calls = Vec::new();
    for member in names(3) {
        calls.push(facade.begin(&mut peer, &member).await);
    }

    becomes(&facade, &gauge("calls_waiting"), 3.0).await;
    becomes(&facade, &gauge("blocked"), 1.0).await;
    let pending = facade.page().await.value(&gauge("pending_bytes")).unwrap();
    // Of the three events, at least two are not being written yet.
    assert!((400.0..4000.0).contains(&pending), "{pending}");

    let lines = read(reader, 4096);
    join_all(calls.into_iter().map(succeeds)).await;
    for what in ["blocked", "calls_waiting", "pending_bytes"] {
        becomes(&facade, &gauge(what), 0.0).await;
    }
    assert_eq!(facade.stop(), Some(0));
    assert_eq!(lines.join().unwrap().members().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_events_in_the_background_no_call_waits_for_standard_error() {
    let mut peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe().full();
    let facade = Facade::start(command(&peer, &["--audit-write", "background"]), writer).await;
    let members = names(100);

    for member in &members {
        let call = Rpc::CREATE.try_for(facade.channel.clone(), member);
        prompt("a call", call).await.expect("an answer");
        peer.request().await;
    }
    goes_on(&facade, &mut peer).await;

    let lines = read(reader, 4096);
    assert_eq!(facade.stop(), Some(0));
    assert_eq!(lines.join().unwrap().members(), members, "in order");
}

/// Calls without a library that gives up at the deadline by itself. Returns the message, if the
/// call succeeded.
async fn call(
    client: &reqwest::Client,
    facade: SocketAddr,
    rpc: Rpc,
    headers: &[(&'static str, &str)],
    member: &str,
) -> Result<(HeaderMap, Bytes), Status> {
    let message = (rpc.encoded)((rpc.request)(member));
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put_slice(&message);
    let mut request = client
        .post(format!("http://{facade}/{}", rpc.name))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body.freeze());
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_str(value).unwrap());
    }
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    match Status::from_header_map(&headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok((headers, response.bytes().await.unwrap())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_owes_an_event_is_answered_with_its_outcome_at_its_deadline() {
    let refusal = fixture("error-400-active_totp_exists.json");
    let peer = Peer::start(move |mut connection| {
        let refusal = refusal.clone();
        async move {
            while let Some(request) = connection.next().await {
                let answer = match &request.json()["member_id"] {
                    member if member == "refused" => peer::json(400, &refusal),
                    member if member == "failed" => peer::json(500, ""),
                    _ => peer::json(200, Rpc::CREATE.answer),
                };
                connection.send(answer).await;
            }
        }
    })
    .await;
    let Unread(reader, writer) = Unread::pipe().full();
    let facade = Facade::start(command(&peer, &[]), writer).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut audited = Vec::new();
    for key in [None, Some("fresh"), Some("replayed")] {
        let first = ["one", "two", "three", "four"];
        for (number, (member, code, upstream, reason)) in [
            ("done", Code::Ok, "", ""),
            ("refused", Code::AlreadyExists, "rejected", "ACTIVE_TOTP_EXISTS"),
            ("failed", Code::Unknown, "unknown", "OUTCOME_UNKNOWN"),
        ]
        .into_iter()
        .enumerate()
        {
            let mut headers = vec![("grpc-timeout", "200m")];
            if key.is_some() {
                headers.push(("idempotency-key", first[number]));
            }
            let start = Instant::now();

            let result = call(&client, facade.grpc, Rpc::CREATE, &headers, member).await;

            let elapsed = start.elapsed();
            // A tenth, at most 20 ms, is left for the way back.
            assert!(elapsed >= Duration::from_millis(175), "{key:?} {member}: {elapsed:?}");
            assert!(elapsed < PROMPT, "{key:?} {member}: {elapsed:?}");
            audited.push(member);
            match result {
                Ok((headers, message)) => {
                    assert_eq!(code, Code::Ok, "{member}");
                    assert!(message.len() > 5, "{message:?}");
                    let is_replayed = headers.contains_key("idempotent-replayed");
                    assert_eq!(is_replayed, key == Some("replayed"));
                }
                Err(status) => {
                    assert_eq!(status.code(), code, "{status:?}");
                    let info = info(&status);
                    assert_eq!((info.upstream.as_str(), info.reason.as_str()), (upstream, reason));
                }
            }
        }
    }

    let lines = read(reader, 64 * 1024);
    assert_eq!(facade.stop(), Some(0));

    assert_eq!(lines.join().unwrap().members(), audited, "in the order in which the calls ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_many_calls_wait_others_that_change_something_are_refused_unsent() {
    let mut peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe().full();
    // Of the hundred that may be open on a connection, half may wait.
    let facade = Facade::start(command(&peer, &["--max-in-flight", "100"]), writer).await;
    let (mut calls, mut refused) = (Vec::new(), None);
    for number in 0..100 {
        let (channel, member) = (facade.channel.clone(), format!("member-{number:02}"));
        let mut call = tokio::spawn(async move { Rpc::CREATE.try_for(channel, &member).await });
        tokio::select! {
            _ = peer.request() => calls.push(call),
            ended = &mut call => {
                refused = Some(ended.unwrap().expect_err("a refusal"));
                break;
            }
        }
    }

    let refused = refused.expect("a refusal");
    // A call that Stytch answers at this moment does not wait yet.
    assert!((50..=60).contains(&calls.len()), "{} calls wait", calls.len());
    let other = channel(&format!("http://{}", facade.grpc)).await;
    for rpc in Rpc::mutating() {
        for channel in [&facade.channel, &other] {
            let refused = rpc.keyed(channel.clone(), "fresh", "key").await.expect_err("a refusal");
            assert_eq!(info(&refused).reason, "AUDIT_TRAIL_BLOCKED", "{}", rpc.name);
        }
    }
    let about = info(&refused);
    assert_eq!(
        (refused.code(), about.reason.as_str(), about.upstream.as_str()),
        (Code::Unavailable, "AUDIT_TRAIL_BLOCKED", "not_sent")
    );
    assert!(pushback(&refused).is_some(), "{refused:?}");
    assert_eq!(peer.pending(), 0, "nothing was sent");
    goes_on(&facade, &mut peer).await;
    let counter = "totp_facade_refusals_total{reason=\"AUDIT_TRAIL_BLOCKED\"}";
    assert_eq!(facade.page().await.value(counter), Some(13.0));

    let (lines, waited) = (read(reader, 4096), calls.len());
    join_all(calls.into_iter().map(succeeds)).await;
    Rpc::CREATE.try_for(facade.channel.clone(), "next").await.expect("it is served again");
    drop(other);
    assert_eq!(facade.stop(), Some(0));
    assert_eq!(lines.join().unwrap().members().len(), waited + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_on_a_connection_that_is_full_of_calls_that_wait() {
    // As many as may be in flight on a connection.
    const CALLS: usize = 100;
    let all_sent = Arc::new(Barrier::new(CALLS + 1));
    let sent = Arc::clone(&all_sent);
    let mut peer = Peer::start(move |mut connection| {
        let sent = Arc::clone(&sent);
        async move {
            while let Some(request) = connection.next().await {
                let reads = request.line().starts_with("GET ");
                connection.keep(request);
                if !reads {
                    sent.wait().await;
                }
                let answer = if reads { Rpc::GET.answer } else { Rpc::CREATE.answer };
                connection.send(peer::json(200, answer)).await;
            }
        }
    })
    .await;
    let Unread(reader, writer) = Unread::pipe().full();
    let facade = Facade::start(command(&peer, &["--max-in-flight", "200"]), writer).await;
    let members = names(CALLS);
    let mut calls = Vec::new();
    for member in &members {
        calls.push(facade.begin(&mut peer, member).await);
    }
    all_sent.wait().await;

    // A read waits for its turn while the calls are in flight.
    Rpc::GET.try_for(facade.channel.clone(), "fresh").await.expect("an answer");
    peer.request().await;
    goes_on(&facade, &mut peer).await;

    assert!(calls.iter().all(|call| !call.is_finished()), "answered without its event");
    let lines = read(reader, 64 * 1024);
    join_all(calls.into_iter().map(succeeds)).await;
    assert_eq!(facade.stop(), Some(0));
    assert_eq!(lines.join().unwrap().members().len(), CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_much_is_pending_calls_that_change_something_are_refused_unsent() {
    const EVENT: usize = 15_000;
    let mut peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe().full();
    let facade = Facade::start(command(&peer, &["--audit-write", "background"]), writer).await;
    let (mut members, mut refused) = (0, None);
    while refused.is_none() {
        let calls = (0..16).map(|number| {
            let member = format!("{:0>EVENT$}", members + number);
            let channel = facade.channel.clone();
            async move { Rpc::CREATE.try_for(channel, &member).await }
        });
        for result in join_all(calls).await {
            match result {
                Ok(_) => members += 1,
                Err(status) => refused = Some(status),
            }
        }
        assert!(members * EVENT < 20 << 20, "none is refused");
    }

    assert_eq!(info(&refused.unwrap()).reason, "AUDIT_TRAIL_BLOCKED");
    assert!(members * EVENT > 15 << 20, "{members} are pending");
    for _ in 0..members {
        peer.request().await;
    }
    assert_eq!(peer.pending(), 0, "nothing was sent for those that were refused");
    let lines = read(reader, 64 * 1024);
    assert_eq!(facade.stop(), Some(0));
    assert_eq!(lines.join().unwrap().members().len(), members);
}

/// What standard error waits for when its process ends.
enum Last {
    /// An event whose call waits for it.
    Event,
    /// An event whose call was answered.
    EventOfBackground,
    /// The message that the drain cut a call.
    Message,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_longer_for_a_blocked_standard_error_than_it_says() {
    let end = async |last: Last| {
        let mut peer = match last {
            Last::Message => {
                Peer::start(|mut connection| async move {
                    connection.request().await;
                    connection.hold().await;
                })
                .await
            }
            _ => stytch().await,
        };
        let Unread(unread, writer) = Unread::pipe().full();
        let write = match last {
            Last::EventOfBackground => "background",
            _ => "before-response",
        };
        let flags = ["--drain-timeout", "300ms", "--audit-write", write];
        let facade = Facade::start(command(&peer, &flags), writer).await;
        let call = facade.begin(&mut peer, "member").await;
        if matches!(last, Last::EventOfBackground) {
            call.await.unwrap().expect("an answer");
        }
        let start = Instant::now();
        let code = tokio::task::spawn_blocking(|| facade.stop()).await.unwrap();
        drop(unread);
        (code, start.elapsed())
    };

    let ends = tokio::join!(end(Last::Event), end(Last::EventOfBackground), end(Last::Message));

    for (code, elapsed) in [ends.0, ends.1, ends.2] {
        assert_eq!(code, Some(1), "lines are left");
        assert!(elapsed >= Duration::from_secs(2), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_ends_a_process_whose_standard_error_is_blocked() {
    let peer = stytch().await;
    for flag in ["--max-in-flight=none", "--no-such-flag"] {
        let Unread(unread, writer) = Unread::pipe().full();
        let process = Server::start_with(command(&peer, &[flag]), writer);
        let ended = tokio::task::spawn_blocking(|| process.end().0);

        let code = timeout(PATIENCE, ended).await.expect("an end").unwrap();

        assert_eq!(code, Some(64), "{flag}");
        drop(unread);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_writes_what_is_pending_once_somebody_reads() {
    let mut peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe().full();
    let facade = Facade::start(command(&peer, &[]), writer).await;
    let calls = [facade.begin(&mut peer, "one").await, facade.begin(&mut peer, "two").await];
    facade.server.signal("TERM");
    // The drain has begun, and serves no new connection.
    while tokio::net::TcpStream::connect(facade.grpc).await.is_ok() {
        tokio::task::yield_now().await;
    }

    let lines = read(reader, 4096);

    join_all(calls.map(succeeds)).await;
    drop(facade.channel);
    assert_eq!(facade.server.end().0, Some(0));
    let mut members = lines.join().unwrap().members();
    members.sort();
    assert_eq!(members, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_their_events_are_answered_before_the_drain_ends() {
    for is_read_at_last in [true, false] {
        let mut peer = stytch().await;
        let Unread(reader, writer) = Unread::pipe().full();
        let facade = Facade::start(command(&peer, &["--drain-timeout", "2s"]), writer).await;
        let members = names(3);
        let mut calls = Vec::new();
        for member in &members {
            calls.push(facade.begin(&mut peer, member).await);
        }
        facade.server.signal("TERM");
        let start = Instant::now();

        join_all(calls.into_iter().map(succeeds)).await;

        // Until then, somebody might have read their events.
        assert!(start.elapsed() >= Duration::from_millis(1700), "{:?}", start.elapsed());
        drop(facade.channel);
        if is_read_at_last {
            let lines = read(reader, 64 * 1024);
            assert_eq!(facade.server.end().0, Some(0));
            let lines = lines.join().unwrap();
            let mut audited = lines.members();
            audited.sort();
            assert_eq!(audited, members);
            let left: Vec<_> =
                lines.json().into_iter().filter_map(|it| it["calls"].as_u64()).collect();
            assert_eq!(left, [3]);
        } else {
            assert_eq!(facade.server.end().0, Some(1), "lines are left");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_another_process_fills_the_pipe_a_call_waits_and_its_connection_does_not() {
    let mut peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe();
    let other = writer.try_clone().unwrap();
    let facade = Facade::start(command(&peer, &[]), writer).await;
    let first = Rpc::CREATE.try_for(facade.channel.clone(), "first");
    prompt("a call", first).await.expect("an answer");
    peer.request().await;
    becomes(&facade, "totp_facade_audit_events_total", 1.0).await;
    let Unread(reader, other) = Unread(reader, other).full();

    let call = facade.begin(&mut peer, "second").await;
    goes_on(&facade, &mut peer).await;

    assert!(!call.is_finished(), "it was answered without its event");
    drop(other);
    let lines = read(reader, 64 * 1024);
    succeeds(call).await;
    assert_eq!(facade.stop(), Some(0));
    assert_eq!(lines.join().unwrap().members(), ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_until_the_outcome_of_a_keyed_call_is_in_redis() {
    let Some(redis) = Redis::start().await else { return };
    let mut peer = stytch().await;
    let Unread(unread, writer) = Unread::pipe().full();
    let keeps_keys = |mut command: Command| {
        command.env("TOTP_FACADE_IDEMPOTENCY_URL", redis.url());
        command
    };
    let facade = Facade::start(keeps_keys(command(&peer, &[])), writer).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let headers = [("grpc-timeout", "200m"), ("idempotency-key", "key")];
    call(&client, facade.grpc, Rpc::CREATE, &headers, "member").await.expect("its outcome");
    peer.request().await;

    drop(client);
    // Standard error stays blocked.
    assert_eq!(facade.stop(), Some(1));
    drop(unread);

    let other = Facade::start(keeps_keys(command(&peer, &[])), Stdio::null()).await;
    let replayed = Rpc::CREATE.keyed(other.channel.clone(), "member", "key").await;
    assert!(replayed.expect("a replay").metadata().contains_key("idempotent-replayed"));
    assert_eq!(peer.pending(), 0, "nothing was sent again");
    assert_eq!(other.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_a_little_at_a_time_does_not_keep_a_process_that_ends() {
    let peer = stytch().await;
    let Unread(mut reader, writer) = Unread::small_pipe().full();
    let facade = Facade::start(command(&peer, &["--log", "trace"]), writer).await;
    for _ in 0..200 {
        Rpc::GET.try_for(facade.channel.clone(), "fresh").await.expect("an answer");
    }
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let trickle = std::thread::spawn(move || {
        let mut page = vec![0; rustix::param::page_size()];
        while stopped.recv_timeout(Duration::from_millis(300)).is_err() {
            let _ = std::io::Read::read(&mut reader, &mut page);
        }
    });
    let start = Instant::now();

    let code = tokio::task::spawn_blocking(|| facade.stop()).await.unwrap();

    let elapsed = start.elapsed();
    stop.send(()).unwrap();
    trickle.join().unwrap();
    assert_eq!(code, Some(1), "lines are left");
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

/// Makes many calls with many lines each, longer than what is written as one. Returns the members.
async fn load(facade: &Facade) -> Vec<String> {
    // JSON escapes it.
    let long = "\"\\".repeat(1500);
    let members: Vec<_> = (0..160).map(|number| format!("{number:03}{long}")).collect();
    let calls = members.iter().map(|member| Rpc::CREATE.try_for(facade.channel.clone(), member));
    let ended: Vec<_> = stream::iter(calls).buffer_unordered(32).collect().await;
    ended.into_iter().for_each(|ended| drop(ended.expect("an answer")));
    members
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_standard_error_loses_nothing_under_load() {
    let peer = stytch().await;
    for flags in [&["--audit-write", "before-response"], &["--audit-write", "background"]] {
        let flags = [&flags[..], &["--log", "totp_facade=debug"]].concat();
        let (pipe, socket) = (Unread::small_pipe(), Unread::socket());
        let on_pipe = Facade::start(command(&peer, &flags), pipe.1).await;
        let on_socket = Facade::start(command(&peer, &flags), socket.1).await;
        let readers = [read(pipe.0, 4096), read(socket.0, 4096)];
        for (facade, lines) in [on_pipe, on_socket].into_iter().zip(readers) {
            let members = load(&facade).await;

            assert_eq!(facade.stop(), Some(0));
            let lines = lines.join().unwrap();
            let mut audited = lines.members();
            audited.sort();
            assert_eq!(audited, members);
            let of_calls = |line: &&serde_json::Value| line["message"] == "Stytch responded";
            assert_eq!(lines.json().iter().filter(of_calls).count(), members.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_lines_while_nobody_reads_some_are_left_out_and_counted_and_no_event() {
    let peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe().full();
    let flags = ["--log", "trace", "--audit-write", "background"];
    let facade = Facade::start(command(&peer, &flags), writer).await;
    const SUPPRESSED: &str = "totp_facade_log_lines_suppressed_total";
    let mut members = Vec::new();
    while facade.page().await.value(SUPPRESSED) == Some(0.0) {
        let more: Vec<_> = (0..32).map(|it| format!("member-{:05}", members.len() + it)).collect();
        let calls = more.iter().map(|member| Rpc::CREATE.try_for(facade.channel.clone(), member));
        join_all(calls).await.into_iter().for_each(|ended| drop(ended.expect("an answer")));
        members.extend(more);
        assert!(members.len() < 5000, "no line is left out");
    }

    let lines = read(reader, 64 * 1024);
    assert_eq!(facade.stop(), Some(0));
    let mut audited = lines.join().unwrap().members();
    audited.sort();
    assert_eq!(audited, members);
}

/// Waits until a counter has this value.
async fn becomes(facade: &Facade, counter: &str, value: f64) {
    let start = Instant::now();
    while facade.page().await.value(counter) != Some(value) {
        assert!(start.elapsed() < PATIENCE, "{counter}: {:?}", facade.page().await);
    }
}

fn lost(reason: &str) -> String {
    format!("totp_facade_audit_events_lost_total{{reason=\"{reason}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn once_nobody_can_read_any_more_calls_go_on_and_their_events_are_counted() {
    let mut peer = stytch().await;
    let (pipe, socket, blocked) = (Unread::pipe(), Unread::socket(), Unread::pipe().full());
    drop((pipe.0, socket.0));
    for (stderr, reader) in [(pipe.1, None), (socket.1, None), (blocked.1, Some(blocked.0))] {
        let facade = Facade::start(command(&peer, &[]), stderr).await;
        let mut waiting = Vec::new();
        if let Some(reader) = reader {
            for member in ["one", "two", "three"] {
                waiting.push(facade.begin(&mut peer, member).await);
            }
            // Whoever would have read it ends.
            drop(reader);
        }
        let waited = waiting.len();

        join_all(waiting.into_iter().map(succeeds)).await;
        for _ in waited..10 {
            Rpc::CREATE.try_for(facade.channel.clone(), "fresh").await.expect("an answer");
            peer.request().await;
        }
        goes_on(&facade, &mut peer).await;

        becomes(&facade, &lost("closed"), 10.0).await;
        assert_eq!(facade.page().await.value("totp_facade_audit_events_total"), Some(0.0));
        assert_eq!(facade.stop(), Some(0));
    }
}

#[cfg(target_os = "linux")] // which has /dev/full
#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_calls_go_on_and_their_events_are_counted() {
    let (mut peer, folder) = (stytch().await, Folder::new());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let limited = File::create(folder.path("stderr")).unwrap();
    let plain = command(&peer, &[]);
    // In units of 512 bytes or more: less than the line at the start and ten events.
    let limit = after("ulimit -f 1", &plain);
    for (command, stderr) in [(plain, full), (limit, limited)] {
        let facade = Facade::start(command, stderr).await;

        for _ in 0..10 {
            Rpc::CREATE.try_for(facade.channel.clone(), "fresh").await.expect("an answer");
            peer.request().await;
        }
        goes_on(&facade, &mut peer).await;

        let (page, written) = (facade.page().await, "totp_facade_audit_events_total");
        let (written, lost) = (page.value(written).unwrap(), page.value(&lost("full")).unwrap());
        assert_eq!(written + lost, 10.0);
        assert!(lost >= 5.0, "{lost} are lost");
        assert_eq!(facade.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_standard_error_calls_go_on() {
    let mut peer = stytch().await;
    let command = after("exec 2>&-", &command(&peer, &[]));
    let facade = Facade::start(command, Stdio::null()).await;

    Rpc::CREATE.try_for(facade.channel.clone(), "fresh").await.expect("an answer");
    peer.request().await;
    goes_on(&facade, &mut peer).await;

    assert_eq!(facade.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_or_a_terminal_that_nobody_reads_holds_up_what_a_pipe_does() {
    let mut peer = stytch().await;
    let (socket, terminal) = (Unread::socket().full(), Unread::terminal().full());
    let readers: [Box<dyn std::io::Read + Send>; 2] = [Box::new(socket.0), Box::new(terminal.0)];
    for (stderr, reader) in [socket.1, terminal.1].into_iter().zip(readers) {
        let facade = Facade::start(command(&peer, &[]), stderr).await;
        let calls = [facade.begin(&mut peer, "one").await, facade.begin(&mut peer, "two").await];

        goes_on(&facade, &mut peer).await;

        assert!(calls.iter().all(|call| !call.is_finished()), "answered without its event");
        let lines = read(reader, 4096);
        join_all(calls.map(succeeds)).await;
        assert_eq!(facade.stop(), Some(0));
        let Lines(text) = lines.join().unwrap();
        let mut members = Lines(text.replace('\r', "")).members();
        members.sort();
        assert_eq!(members, ["one", "two"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_kept_as_json_is_while_nobody_reads() {
    let mut peer = stytch().await;
    let Unread(reader, writer) = Unread::pipe().full();
    let facade = Facade::start(command(&peer, &["--log-format", "text"]), writer).await;
    let call = facade.begin(&mut peer, "member").await;
    goes_on(&facade, &mut peer).await;
    assert!(!call.is_finished());

    let lines = read(reader, 4096);
    succeeds(call).await;
    assert_eq!(facade.stop(), Some(0));

    let Lines(text) = lines.join().unwrap();
    let events = text.lines().filter(|line| line.contains(" audit: "));
    let events: Vec<_> = events.filter(|line| line.contains("member_id=\"member\"")).collect();
    assert_eq!(events.len(), 1, "{text}");
}
