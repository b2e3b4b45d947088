//! Calls that are late, abandoned, too many, or malformed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::post};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status, service::Routes};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;
use totp_facade::{
    proto::stytch::b2b::totp::v1::{CreateRequest, totp_service_client::TotpServiceClient},
    service::Services,
};

use crate::support::{
    Deaf, Facade, PATIENCE, Setup, create, info,
    peer::{Peer, json},
    process::{Server, serve},
    pushback,
    rpc::Rpc,
    sandbox, start,
};

const ANSWER: &str = r#"{"secret": "S"}"#;

#[tokio::test]
async fn a_deadline_is_answered_with_deadline_exceeded_and_what_is_known() {
    let (peer, _answer) = Peer::patient(json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut http2 = Http2::connect(&facade).await;
    for limit in [100, 400].map(Duration::from_millis) {
        let start = Instant::now();

        let grpc_timeout = format!("{}m", limit.as_millis());
        let status = http2.create(&grpc_timeout, &frame(&create("fresh"))).await;

        assert_eq!(status.code(), Code::DeadlineExceeded, "{limit:?}");
        assert_eq!(info(&status).upstream, "unknown");
        assert_eq!(pushback(&status), Some("-1"));
        let elapsed = start.elapsed();
        assert!((limit * 4 / 5..limit * 4).contains(&elapsed), "took {elapsed:?} of {limit:?}");
    }
}

#[tokio::test]
async fn even_a_short_deadline_is_never_answered_with_tonics_cancelled() {
    let (peer, _answer) = Peer::patient(json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut http2 = Http2::connect(&facade).await;

    for millis in 3..=25 {
        let status = http2.create(&format!("{millis}m"), &frame(&create("fresh"))).await;

        assert_eq!(status.code(), Code::DeadlineExceeded, "{millis} ms");
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing() {
    let peer = Peer::answering(json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut http2 = Http2::connect(&facade).await;

    for grpc_timeout in ["0n", "1n", "1u", "1m"] {
        let status = http2.create(grpc_timeout, &frame(&create("fresh"))).await;

        assert_eq!(status.code(), Code::DeadlineExceeded, "{grpc_timeout}");
        assert_eq!(info(&status).upstream, "not_sent", "{grpc_timeout}");
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn a_deadline_before_the_request_has_left_is_not_sent_and_leaves_nothing_behind() {
    let deaf = Deaf::new().await;
    for rpc in Rpc::ALL {
        let facade = Facade::in_front_of(deaf.addr).await;
        // tonic's client would time out by itself.
        let mut http2 = Http2::connect(&facade).await;
        let request = framed(&(rpc.encoded)((rpc.request)("fresh")));

        let status = http2.call(&format!("/{}", rpc.name), "100m", &request).await;

        assert_eq!(status.code(), Code::DeadlineExceeded, "{}", rpc.name);
        assert_eq!(info(&status).upstream, "not_sent", "{}", rpc.name);
        assert_eq!(pushback(&status), None, "{} may be sent again", rpc.name);
        let start = Instant::now();
        facade.stop().await.unwrap().expect("a clean drain");
        assert!(start.elapsed() < Duration::from_secs(1), "nothing went on connecting");
    }
}

#[tokio::test]
async fn a_malformed_deadline_is_refused_and_not_ignored() {
    let peer = Peer::answering(json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut http2 = Http2::connect(&facade).await;

    for value in ["10", "ten", "1.5S", "-1S", "123456789S", ""] {
        let status = http2.create(value, &frame(&create("fresh"))).await;

        assert_eq!(status.code(), Code::InvalidArgument, "{value:?}");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "grpc-timeout");
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_completes_and_keeps_its_permit() {
    let (mut peer, answer) = Peer::patient(json(200, ANSWER)).await;
    let mut setup = Setup::new(peer.addr);
    setup.server.max_in_flight = 1;
    let facade = setup.start().await;
    let mut client = facade.client().await;
    let mut first = client.clone();
    let call = tokio::spawn(async move { first.create(create("fresh")).await });
    peer.request().await;

    call.abort();
    let _ = call.await;

    // Nobody waits for the call, yet it holds the only permit.
    let status = client.create(create("fresh")).await.expect_err("the server is full");
    assert_eq!(info(&status).reason, "OVERLOADED");
    let mut drained = facade.stop();
    assert!(
        timeout(Duration::from_millis(50), &mut drained).await.is_err(),
        "the drain waits for it"
    );
    answer.notify_one();
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
    assert_eq!((peer.connections(), peer.pending()), (1, 0), "sent once, its answer read");
}

#[tokio::test]
async fn a_full_server_sheds_at_once_with_retry_info_and_still_answers_probes() {
    let (mut peer, answer) = Peer::patient(json(200, ANSWER)).await;
    let mut setup = Setup::new(peer.addr);
    setup.server.max_in_flight = 2;
    let facade = setup.start().await;
    let mut client = facade.client().await;
    let open: Vec<_> = (0..2)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.create(create("fresh")).await })
        })
        .collect();
    peer.request().await;
    peer.request().await;
    let start = Instant::now();

    let status = client.create(create("fresh")).await.expect_err("the server is full");

    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(info(&status).reason, "OVERLOADED");
    assert_eq!(info(&status).upstream, "not_sent");
    let delay = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert_eq!(pushback(&status), Some(delay.as_millis().to_string().as_str()));
    assert_eq!(peer.pending(), 0, "nothing was sent");
    let mut health = HealthClient::new(facade.channel().await);
    health.check(HealthCheckRequest::default()).await.expect("a full server answers probes");
    answer.notify_one();
    answer.notify_one();
    for call in open {
        call.await.unwrap().expect("the admitted calls go on");
    }
    answer.notify_one();
    client.create(create("fresh")).await.expect("there are permits again");
}

#[tokio::test]
async fn calls_beyond_the_share_of_a_connection_wait_and_one_that_gives_up_takes_no_turn_along() {
    const SHARE: usize = 100;
    let (mut peer, answer) = Peer::patient(json(200, ANSWER)).await;
    let mut setup = Setup::new(peer.addr);
    setup.server.max_in_flight = 2 * SHARE;
    let facade = setup.start().await;
    let channel = facade.channel().await;
    let call = |_| tokio::spawn(Rpc::CREATE.try_for(channel.clone(), "fresh"));
    let mut calls: FuturesUnordered<_> = (0..SHARE).map(call).collect();
    for _ in 0..SHARE {
        peer.request().await;
    }

    let mut hasty = tonic::Request::new(create("fresh"));
    hasty.set_timeout(Duration::from_millis(500));
    let status = TotpServiceClient::new(channel.clone()).create(hasty).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(info(&status).upstream, "not_sent");
    assert_eq!(peer.pending(), 0);
    calls.extend((0..2).map(call));

    for _ in 0..2 {
        answer.notify_one();
        calls.next().await.unwrap().unwrap().expect("an answer");
        // One who waits takes the turn.
        peer.request().await;
    }
    assert_eq!((calls.len(), peer.pending()), (SHARE, 0));
}

#[tokio::test]
async fn more_connections_than_allowed_wait_until_one_closes() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.max_connections = 1;
    let facade = setup.start().await;
    let mut first = facade.client().await;
    first.create(create("fresh")).await.expect("the first connection");
    let mut second = facade.client().await;
    let mut waiting = tokio::spawn(async move { second.create(create("fresh")).await });

    assert!(
        timeout(Duration::from_millis(50), &mut waiting).await.is_err(),
        "the second connection waits"
    );
    first.create(create("fresh")).await.expect("the first goes on");
    drop(first);

    timeout(PATIENCE, waiting).await.unwrap().unwrap().expect("the second connection");
}

#[tokio::test]
async fn silent_connections_are_evicted_for_a_good_call() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.max_connections = 4;
    let facade = setup.start().await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(facade.addr).await.unwrap());
    }
    let start = Instant::now();

    let mut client = facade.client().await;
    client.create(create("fresh")).await.expect("a good call");

    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_panic_is_answered_with_internal_and_the_connection_lives() {
    let buggy = post(async || -> StatusCode { panic!("a bug") });
    let router = Router::new().route("/stytch.b2b.totp.v1.TotpService/Create", buggy);
    let mut server = Setup::new("127.0.0.1:9".parse().unwrap()).server();
    server.services = Services { routes: Routes::from(router), names: Vec::new() };
    let facade = start(server).await;
    let channel = facade.channel().await;
    let mut client =
        totp_facade::proto::stytch::b2b::totp::v1::totp_service_client::TotpServiceClient::new(
            channel.clone(),
        );

    for _ in 0..3 {
        let status = client.create(create("fresh")).await.expect_err("a bug");

        assert_eq!(status.code(), Code::Internal);
        assert_eq!(info(&status).reason, "INTERNAL_ERROR");
        assert!(!status.message().contains("a bug"), "{}", status.message());
    }
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.expect("it is open");
    facade.stop().await.unwrap().expect("no permit was lost in the panics");
}

#[tokio::test]
async fn an_oversize_message_is_refused_and_the_connection_lives() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut client = facade.client().await;

    for size in [16 * 1024, 1024 * 1024] {
        let status = client.create(create(&"x".repeat(size))).await.expect_err("too large");

        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(info(&status).reason, "REQUEST_TOO_LARGE");
        assert_eq!(info(&status).upstream, "not_sent");
    }
    client.create(create("fresh")).await.expect("the next call");
}

#[tokio::test]
async fn a_malformed_message_ends_its_stream_with_a_status_and_the_connection_lives() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut http2 = Http2::connect(&facade).await;

    for (reason, body) in [
        ("not protobuf", b"\0\0\0\0\x03\xff\xff\xff".as_slice()),
        ("text that is not UTF-8", b"\0\0\0\0\x03\x0a\x01\xff"),
        ("a wrong wire type", b"\0\0\0\0\x02\x08\x01"),
        ("compressed with nothing", b"\x01\0\0\0\x01\0"),
        ("an unknown flag", b"\x07\0\0\0\x01\0"),
        ("shorter than announced", b"\0\0\0\0\x64\x0a"),
        ("half a header", b"\0\0"),
        ("nothing at all", b""),
    ] {
        let status = http2.create("10S", body).await;

        assert_ne!(status.code(), Code::Ok, "{reason}");
        assert_eq!(info(&status).reason, "MALFORMED_REQUEST", "{reason}: {status:?}");
    }
    let status = http2.create("10S", &frame(&create("fresh"))).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut http2 = Http2::connect(&facade).await;

    for path in ["/stytch.b2b.totp.v1.TotpService/Destroy", "/nothing.Here/At", "/"] {
        let status = http2.call(path, "10S", &frame(&create("fresh"))).await;

        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        assert_eq!(info(&status).reason, "UNIMPLEMENTED", "{path}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_grpc_is_refused_as_http_and_not_executed() {
    let peer = Peer::answering(json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut http2 = Http2::connect(&facade).await;
    let create = frame(&create("fresh"));

    for (method, content_type, status) in [
        ("POST", Some("application/json"), 415),
        ("POST", None, 415),
        ("POST", Some("text/plain"), 415),
        ("POST", Some("application/x-www-form-urlencoded"), 415),
        ("POST", Some("multipart/form-data"), 415),
        ("POST", Some("application/grpc-web"), 415),
        ("POST", Some("application/grpc-web+proto"), 415),
        ("POST", Some("application/grpc-web-text"), 415),
        ("POST", Some("application/grpcs"), 415),
        ("GET", Some("application/grpc"), 405),
        ("PUT", Some("application/grpc"), 405),
        ("DELETE", Some("application/grpc"), 405),
        ("OPTIONS", None, 405),
        ("PATCH", Some("application/grpc"), 405),
        ("POST", Some("application/grpc"), 200),
        ("POST", Some("application/grpc+proto"), 200),
    ] {
        let mut request = http::Request::builder()
            .method(method)
            .uri("http://facade/stytch.b2b.totp.v1.TotpService/Create")
            .header("origin", "https://elsewhere.example");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let executed = usize::from(status == 200);

        let (head, _) = http2.send(request.body(()).unwrap(), &create).await;

        assert_eq!(head.status, status, "{method} {content_type:?}");
        assert_eq!(peer.connections().min(1), executed, "{method} {content_type:?}");
    }
    facade.becomes("totp_facade_refusals_total{reason=\"NOT_GRPC\"}", 14.0).await;
}

#[tokio::test]
async fn a_unary_call_with_two_messages_is_refused_and_not_executed() {
    let peer = Peer::answering(json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut http2 = Http2::connect(&facade).await;
    let one = frame(&create("fresh"));

    for (reason, body) in [
        ("twice the same", [&one[..], &one].concat()),
        ("one that is empty", [&one[..], &[0; 5]].concat()),
        ("half of one", [&one[..], &[0]].concat()),
    ] {
        let status = http2.create("10S", &body).await;

        assert_eq!(info(&status).reason, "MALFORMED_REQUEST", "{reason}: {status:?}");
        assert_eq!(info(&status).upstream, "not_sent", "{reason}");
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn metadata_of_more_than_16_kib_is_refused_with_a_status() {
    let peer = Peer::answering(json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut client = facade.client().await;

    for (size, is_refused) in [(15 * 1024, false), (17 * 1024, true), (60 * 1024, true)] {
        let mut request = tonic::Request::new(create("fresh"));
        request.metadata_mut().insert("x-large", "v".repeat(size).parse().unwrap());

        let result = client.create(request).await;

        match is_refused {
            false => drop(result.expect("it is read")),
            true => {
                let status = result.expect_err("it is too large");
                assert_eq!(status.code(), Code::OutOfRange, "{size}");
                assert_eq!(info(&status).reason, "REQUEST_TOO_LARGE", "{size}");
                assert_eq!(info(&status).upstream, "not_sent", "{size}");
            }
        }
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn errors_that_the_libraries_make_have_details_too() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut http2 = Http2::connect(&facade).await;

    for (path, code, reason) in [
        ("/grpc.health.v1.Health/List", Code::Unimplemented, "UNIMPLEMENTED"),
        ("/grpc.health.v1.Health/Nothing", Code::Unimplemented, "UNIMPLEMENTED"),
        ("/grpc.health.v2.Health/Check", Code::Unimplemented, "UNIMPLEMENTED"),
        ("/grpc.reflection.v1.ServerReflection/Nothing", Code::Unimplemented, "UNIMPLEMENTED"),
        ("/grpc.channelz.v1.Channelz/GetServers", Code::Unimplemented, "UNIMPLEMENTED"),
        ("/nothing.Here/At", Code::Unimplemented, "UNIMPLEMENTED"),
    ] {
        let status = http2.call(path, "10S", &[0; 5]).await;

        assert_eq!(status.code(), code, "{path}");
        assert_eq!(info(&status).reason, reason, "{path}");
        assert_eq!(info(&status).upstream, "not_sent", "{path}");
    }
    let unknown = framed(b"\x0a\x07nothing");
    let status = http2.call("/grpc.health.v1.Health/Check", "10S", &unknown).await;
    assert_eq!((status.code(), info(&status).reason.as_str()), (Code::NotFound, "SERVICE_UNKNOWN"));

    // For an unknown compression, the response lists those that are supported.
    let request = http::Request::post("http://facade/stytch.b2b.totp.v1.TotpService/Create")
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "snappy");
    let body = [&[1, 0, 0, 0, 1][..], b"x"].concat();
    let (head, _) = http2.send(request.body(()).unwrap(), &body).await;
    let status = Status::from_header_map(&head.headers).expect("a status");
    assert_eq!(
        (status.code(), info(&status).reason.as_str()),
        (Code::Unimplemented, "UNIMPLEMENTED")
    );
    assert!(head.headers.contains_key("grpc-accept-encoding"), "{:?}", head.headers);
}

#[tokio::test]
async fn what_a_caller_writes_for_a_method_is_not_logged() {
    let stytch = Peer::answering(json(200, ANSWER)).await;
    let mut command = serve(&format!("http://{}", stytch.addr), "secret");
    command.args(["--drain-delay", "0s", "--log", "totp_facade=trace,audit=trace"]);
    let mut server = Server::start(command);
    let mut http2 = Http2::to(server.addr("grpc")).await;

    for path in [
        "/Chosen.By/Me",
        "/stytch.b2b.totp.v1.TotpService/ChosenByMe",
        "/grpc.health.v1.Health/ChosenByMe",
        "/ChosenByMe",
    ] {
        http2.call(path, "10S", &[0; 5]).await;
    }
    http2.create("10S", &frame(&create("fresh"))).await;

    server.signal("TERM");
    let (code, _, log) = server.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("_OTHER") && log.contains("TotpService/Create"), "{log}");
    assert!(!log.contains("Chosen"), "{log}");
}

/// An HTTP/2 client, for requests that no gRPC client would send.
struct Http2(h2::client::SendRequest<Bytes>);

impl Http2 {
    async fn connect(facade: &Facade) -> Self {
        Self::to(facade.addr).await
    }

    async fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn create(&mut self, grpc_timeout: &str, body: &[u8]) -> Status {
        self.call("/stytch.b2b.totp.v1.TotpService/Create", grpc_timeout, body).await
    }

    async fn call(&mut self, path: &str, grpc_timeout: &str, body: &[u8]) -> Status {
        let request = http::Request::post(format!("http://facade{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", grpc_timeout)
            .body(())
            .unwrap();
        let (head, trailers) = self.send(request, body).await;
        Status::from_header_map(&trailers.unwrap_or(head.headers)).expect("a status")
    }

    async fn send(
        &mut self,
        request: http::Request<()>,
        body: &[u8],
    ) -> (http::response::Parts, Option<http::HeaderMap>) {
        let exchange = async {
            let mut sender = self.0.clone().ready().await.unwrap();
            let (response, mut stream) = sender.send_request(request, false).unwrap();
            // The server may have answered before the request was complete.
            let _ = stream.send_data(Bytes::copy_from_slice(body), true);
            let (head, mut body) = response.await.unwrap().into_parts();
            while let Some(data) = body.data().await {
                data.unwrap();
            }
            (head, body.trailers().await.unwrap())
        };
        timeout(PATIENCE, exchange).await.unwrap()
    }
}

/// Encodes `message` with gRPC's five-byte prefix.
fn frame(message: &CreateRequest) -> Vec<u8> {
    framed(&prost::Message::encode_to_vec(message))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}
