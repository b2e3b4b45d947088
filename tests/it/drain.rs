//! How the server ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use totp_facade::server;

use crate::support::{
    PATIENCE, Setup, create,
    peer::{Peer, json},
    sandbox,
};

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
async fn draining_tells_an_open_health_watch_and_ends_it() {
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
async fn during_the_drain_delay_probes_say_no_and_calls_are_still_served() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.drain_delay = Duration::from_millis(400);
    let facade = setup.start().await;
    let (admin, mut client) = (facade.admin, facade.client().await);
    let mut health = HealthClient::new(facade.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let start = Instant::now();

    let drained = facade.stop();

    let told = watch.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing, "the whole server");
    client.create(create("fresh")).await.expect("calls are still welcome");
    let ready = reqwest::get(format!("http://{admin}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
    let alive = reqwest::get(format!("http://{admin}/livez")).await.unwrap();
    assert_eq!(alive.status(), 200, "a draining process must not be killed");
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
    assert!(start.elapsed() >= Duration::from_millis(400), "the delay is kept");
    client.create(create("fresh")).await.expect_err("and then it is over");
}

#[tokio::test]
async fn a_drain_that_runs_out_of_time_says_what_it_cut() {
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
async fn draining_says_goodbye_with_goaway_before_it_closes_a_connection() {
    let facade = Setup::new(sandbox().await).start().await;
    let mut stream = TcpStream::connect(facade.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    assert_eq!(frame(&mut stream).await.expect("its settings").0, 0x4);

    let drained = facade.stop();

    let mut goaways = Vec::new();
    while let Some((kind, flags, payload)) = frame(&mut stream).await {
        match (kind, flags) {
            (0x6, 0) => {
                // A ping, which it sends to learn that its first GOAWAY has arrived.
                let pong = [&[0, 0, 8, 0x6, 1, 0, 0, 0, 0], &payload[..]].concat();
                stream.write_all(&pong).await.unwrap();
            }
            (0x7, _) => goaways.push(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
            _ => {}
        }
    }
    assert_eq!(goaways.last(), Some(&0), "NO_ERROR, and then the end");
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
}

/// The next HTTP/2 frame: type, flags, payload. None at the end of the connection.
async fn frame(stream: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

#[tokio::test]
async fn a_connection_that_will_not_close_is_left_at_the_limit_for_no_call_is_cut() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.drain_timeout = Duration::from_millis(100);
    let facade = setup.start().await;
    let mut silent = TcpStream::connect(facade.addr).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    frame(&mut silent).await.expect("its settings");

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
