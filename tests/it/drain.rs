//! The drain, and how connections close.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{join_all, select_all};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Notify, time::timeout};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use totp_facade::{
    proto::stytch::b2b::{
        recovery_codes::v1::{
            GetRequest, recovery_codes_service_client::RecoveryCodesServiceClient,
        },
        totp::v1::totp_service_client::TotpServiceClient,
    },
    server::{self, Listeners},
};

use crate::support::{
    Facade, PATIENCE, Setup, channel, create,
    credentials::Authority,
    door::DoorFiles,
    frames, listener,
    peer::{Peer, json},
    sandbox,
};

/// A request of a call that only reads.
fn enrolled() -> GetRequest {
    GetRequest { organization_id: "example-works".into(), member_id: "enrolled".into() }
}

#[tokio::test]
async fn draining_lets_an_open_create_finish() {
    let answer = Arc::new(Notify::new());
    let told = Arc::clone(&answer);
    let mut peer = Peer::start(move |mut connection| {
        let told = Arc::clone(&told);
        async move {
            connection.request().await;
            told.notified().await;
            connection.send(json(200, r#"{"secret": "S"}"#)).await;
            connection.hold().await;
        }
    })
    .await;
    let facade = Setup::new(peer.addr).start().await;
    let mut client = facade.client().await;
    let call = tokio::spawn(async move { client.create(create("fresh")).await });
    peer.request().await;

    let mut drained = facade.stop();

    assert!(timeout(Duration::from_millis(50), &mut drained).await.is_err(), "it waits");
    answer.notify_one();
    let response = call.await.unwrap().expect("the open call ends well");
    assert_eq!(response.into_inner().secret, "S");
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
}

#[tokio::test]
async fn draining_lets_the_open_calls_of_every_worker_finish() {
    let (mut peer, answer) = Peer::patient(json(200, r#"{"secret": "S"}"#)).await;
    let mut setup = Setup::new(peer.addr);
    setup.server.worker_threads = 3;
    let facade = setup.start().await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        let mut client = facade.client().await;
        calls.push(tokio::spawn(async move { client.create(create("fresh")).await }));
        peer.request().await;
    }

    let mut drained = facade.stop();

    assert!(timeout(Duration::from_millis(50), &mut drained).await.is_err(), "it waits");
    while !calls.is_empty() {
        answer.notify_one();
        let (response, _, open) = select_all(calls).await;
        let response = response.unwrap().expect("the open call ends well");
        assert_eq!(response.into_inner().secret, "S");
        calls = open;
    }
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
}

#[tokio::test]
async fn draining_notifies_and_ends_an_open_health_watch() {
    let facade = Setup::new(sandbox().await).start().await;
    let mut health = HealthClient::new(facade.channel().await);
    let request = HealthCheckRequest { service: "stytch.b2b.totp.v1.TotpService".into() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let start = Instant::now();

    let drained = facade.stop();

    let second = watch.message().await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::NotServing);
    let end = watch.message().await.expect_err("the end of the stream");
    assert_eq!(end.code(), Code::Unavailable);
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
    assert!(start.elapsed() < Duration::from_secs(5), "it did not wait for the limit");
}

#[tokio::test]
async fn during_the_drain_delay_probes_fail_and_calls_are_served() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.drain_delay = Duration::from_millis(1500);
    let facade = setup.start().await;
    let (admin, mut client, metrics) =
        (facade.admin, facade.client().await, facade.metrics.clone());
    let mut health = HealthClient::new(facade.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let start = Instant::now();

    let drained = facade.stop();

    let told = watch.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing, "the whole server");
    client.create(create("fresh")).await.expect("calls are still served");
    let ready = reqwest::get(format!("http://{admin}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(metrics.ready.get(), 0);
    let alive = reqwest::get(format!("http://{admin}/livez")).await.unwrap();
    assert_eq!(alive.status(), 200, "a draining process must not be killed");
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
    assert!(start.elapsed() >= Duration::from_millis(1500), "the delay is kept");
    client.create(create("fresh")).await.expect_err("the server has stopped");
}

#[tokio::test]
async fn a_drain_that_runs_out_of_time_reports_what_it_cut() {
    let mut peer = Peer::start(|mut connection| async move {
        connection.request().await;
        connection.hold().await;
    })
    .await;
    let mut setup = Setup::new(peer.addr);
    setup.server.drain_timeout = Duration::from_millis(100);
    let facade = setup.start().await;
    let mut client = facade.client().await;
    let call = tokio::spawn(async move { client.create(create("fresh")).await });
    peer.request().await;

    let drained = timeout(PATIENCE, facade.stop()).await.unwrap().unwrap();

    assert!(matches!(drained, Err(server::Error::DrainTimeout { in_flight: 1 })), "{drained:?}");
    call.abort();
}

#[tokio::test]
async fn draining_sends_goaway_before_it_closes_a_connection() {
    let facade = Setup::new(sandbox().await).start().await;
    let mut stream = TcpStream::connect(facade.addr).await.unwrap();
    stream.write_all(&frames::start()).await.unwrap();
    frames::read(&mut stream).await.expect("its settings");

    let drained = facade.stop();

    assert_eq!(goaways(&mut stream).await.last(), Some(&0), "NO_ERROR before the close");
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
}

/// Answers pings until the connection closes; a server sends one to learn that its GOAWAY arrived.
/// Returns the error codes of all GOAWAYs.
async fn goaways(stream: &mut TcpStream) -> Vec<u32> {
    let mut codes = Vec::new();
    while let Some(frame) = frames::read(stream).await {
        match frame.kind {
            frames::PING if frame.flags != frames::ACK => {
                let _ = stream.write_all(&frames::pong(&frame.payload)).await;
            }
            frames::GOAWAY => {
                codes.push(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
            _ => {}
        }
    }
    codes
}

#[tokio::test]
async fn connections_without_an_open_call_do_not_hold_up_the_drain() {
    let start = frames::start();
    let health = frames::headers(1, "grpc.health.v1.Health/Check");
    let create = frames::headers(1, "stytch.b2b.totp.v1.TotpService/Create");
    let upstream = sandbox().await;
    let files = DoorFiles::new(&[&Authority::new()]);
    for (what, bytes, tls) in [
        ("nothing sent", vec![], false),
        ("half a preface", start[..10].to_vec(), false),
        ("silent after its settings", start.clone(), false),
        ("a health check without its message", [start.clone(), health].concat(), false),
        ("a call without its message", [start.clone(), create].concat(), false),
        ("silent in its TLS handshake", vec![], true),
        ("half a TLS record", vec![0x16, 3, 1], true),
    ] {
        let facade = match tls {
            true => files.facade(upstream).await,
            false => Facade::in_front_of(upstream).await,
        };
        let mut silent = TcpStream::connect(facade.addr).await.unwrap();
        silent.write_all(&bytes).await.unwrap();
        if bytes.len() >= start.len() {
            frames::read(&mut silent).await.expect("its settings");
        }
        let begin = Instant::now();

        timeout(PATIENCE, facade.stop()).await.unwrap().unwrap().expect("a clean drain");

        assert!(begin.elapsed() < Duration::from_secs(5), "{what}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn after_its_tls_handshake_a_silent_connection_does_not_hold_up_the_drain() {
    let files = DoorFiles::new(&[&Authority::new()]);
    let facade = files.facade(sandbox().await).await;
    let channel = files.channel(&facade, None).await;
    let begin = Instant::now();

    timeout(PATIENCE, facade.stop()).await.unwrap().unwrap().expect("a clean drain");

    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(channel);
}

#[tokio::test]
async fn a_connection_is_evicted_with_goaway() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.max_connections = 1;
    let facade = setup.start().await;
    let mut stranger = TcpStream::connect(facade.addr).await.unwrap();
    stranger.write_all(&frames::start()).await.unwrap();

    let mut client = facade.client().await;
    client.create(create("fresh")).await.expect("the newcomer's call");

    assert_eq!(goaways(&mut stranger).await.first(), Some(&0), "NO_ERROR");
}

#[tokio::test]
async fn connections_end_at_their_age_and_no_call_fails() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.max_connection_age = Duration::from_millis(100);
    let facade = setup.start().await;
    let mut idle = TcpStream::connect(facade.addr).await.unwrap();
    idle.write_all(&frames::start()).await.unwrap();
    let channel = facade.channel().await;
    let until = Instant::now() + Duration::from_secs(2);

    let calls = (0..8).map(|_| {
        let mut client = RecoveryCodesServiceClient::new(channel.clone());
        tokio::spawn(async move {
            let mut calls = 0;
            while Instant::now() < until {
                client.get(enrolled()).await.expect("no call fails");
                calls += 1;
            }
            calls
        })
    });
    let calls = join_all(calls.collect::<Vec<_>>()).await;

    let calls: u32 = calls.into_iter().map(Result::unwrap).sum();
    assert!(calls > 100, "{calls} calls on some twenty connections");
    assert_eq!(goaways(&mut idle).await.first(), Some(&0), "NO_ERROR");
}

#[tokio::test]
async fn calls_are_answered_once_the_stop_signal_is_waited_for() {
    let (grpc, admin) = (listener().await, listener().await);
    let url = format!("http://{}", grpc.local_addr().unwrap());
    let setup = Setup::new(sandbox().await);
    // `serve` announces its addresses when this is first polled.
    let stop = async {
        let mut client = TotpServiceClient::new(channel(&url).await);
        client.create(create("fresh")).await.expect("an answer");
    };

    let run = setup.server().run(Listeners { grpc: grpc.into(), admin }, stop);

    timeout(PATIENCE, run).await.unwrap().expect("a clean drain");
}

#[tokio::test]
async fn a_connection_that_will_not_close_is_left_at_the_limit_for_no_call_is_cut() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.drain_timeout = Duration::from_millis(100);
    let facade = setup.start().await;
    let mut silent = TcpStream::connect(facade.addr).await.unwrap();
    silent.write_all(&frames::start()).await.unwrap();
    frames::read(&mut silent).await.expect("its settings");

    let drained = timeout(PATIENCE, facade.stop()).await.unwrap().unwrap();

    drained.expect("a clean drain");
}

#[tokio::test]
async fn an_idle_server_stops_at_once_with_clients_connected() {
    let facade = Setup::new(sandbox().await).start().await;
    let mut client = facade.client().await;
    client.create(create("fresh")).await.expect("a TOTP");
    let start = Instant::now();

    timeout(PATIENCE, facade.stop()).await.unwrap().unwrap().expect("a clean drain");

    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
}
