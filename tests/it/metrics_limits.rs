//! The metrics about what is limited: calls and connections.

use std::time::Instant;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Facade, PATIENCE, Setup,
    credentials::Authority,
    door::DoorFiles,
    peer::{Peer, json},
    rpc::Rpc,
    sandbox,
};

const IN_FLIGHT: &str = "totp_facade_calls_in_flight";
const OPEN: &str = "totp_facade_connections_open";

fn shed(limit: &str) -> String {
    format!("totp_facade_calls_shed_total{{limit=\"{limit}\"}}")
}

fn evicted(reason: &str) -> String {
    format!("totp_facade_connections_evicted_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn calls_in_flight_and_calls_shed_at_the_limit_of_the_process_are_counted() {
    let (mut peer, answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
    let mut setup = Setup::new(peer.addr);
    setup.server.max_in_flight = 2;
    let facade = setup.start().await;
    let channel = facade.channel().await;
    facade.becomes(IN_FLIGHT, 0.0).await;
    facade.becomes("totp_facade_calls_limit", 2.0).await;
    let open = [(); 2].map(|()| {
        let channel = channel.clone();
        tokio::spawn(async move { Rpc::CREATE.try_for(channel, "fresh").await })
    });
    for _ in &open {
        peer.request().await;
    }

    let status = Rpc::CREATE.try_for(channel, "fresh").await.expect_err("the server is full");

    assert_eq!(status.code(), Code::ResourceExhausted);
    facade.becomes(&shed("process"), 1.0).await;
    facade.becomes(&shed("connection"), 0.0).await;
    facade.becomes(IN_FLIGHT, 2.0).await;
    for call in open {
        answer.notify_one();
        call.await.unwrap().expect("an answer");
    }
    facade.becomes(IN_FLIGHT, 0.0).await;
}

#[tokio::test]
async fn calls_shed_at_the_share_of_a_connection_are_counted() {
    let (mut peer, _answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
    let mut setup = Setup::new(peer.addr);
    setup.server.max_in_flight = 200;
    let facade = setup.start().await;
    let channel = facade.channel().await;
    // A call that was sent goes on when its caller leaves, so it keeps its permit.
    for _ in 0..100 {
        let channel = channel.clone();
        let call = tokio::spawn(async move { Rpc::CREATE.try_for(channel, "fresh").await });
        peer.request().await;
        call.abort();
    }

    let status = Rpc::CREATE.try_for(channel, "fresh").await.expect_err("its share is used up");

    assert_eq!(status.code(), Code::ResourceExhausted);
    facade.becomes(&shed("connection"), 1.0).await;
    facade.becomes(&shed("process"), 0.0).await;
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open_and_when_they_are_evicted() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.max_connections = 4;
    let facade = setup.start().await;
    facade.becomes(OPEN, 0.0).await;
    facade.becomes("totp_facade_connections_limit", 4.0).await;
    let mut silent = Vec::new();
    for open in 1..=4_u8 {
        silent.push(TcpStream::connect(facade.addr).await.unwrap());
        facade.becomes(OPEN, open.into()).await;
    }
    facade.becomes(&evicted("unproven"), 0.0).await;

    Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("a good call");

    // One more for each moment that the first takes to close.
    let page = facade.scrape().await;
    assert!(page.value(&evicted("unproven")) >= Some(1.0), "{page:?}");
    assert_eq!(page.value(&evicted("idle")), Some(0.0));
    drop(silent);
    facade.becomes(OPEN, 0.0).await;
}

#[tokio::test]
async fn an_idle_connection_that_is_evicted_for_a_busier_one_is_counted() {
    let mut setup = Setup::new(sandbox().await);
    setup.server.max_connections = 2;
    let facade = setup.start().await;
    let idle = facade.channel().await;
    Rpc::CREATE.try_for(idle.clone(), "fresh").await.expect("a good call");
    let start = Instant::now();

    // The first has to be idle for a while.
    while facade.scrape().await.value(&evicted("idle")) != Some(1.0) {
        assert!(start.elapsed() < PATIENCE, "nothing is evicted");
        let busy = facade.channel().await;
        Rpc::GET.try_for(busy, "enrolled").await.expect("a good call");
    }

    drop(idle);
}

#[tokio::test]
async fn a_connection_that_is_closed_for_its_resets_is_counted() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut health = HealthClient::new(facade.channel().await);
    let start = Instant::now();

    while facade.scrape().await.value(&evicted("resets")) != Some(1.0) {
        assert!(start.elapsed() < PATIENCE, "it is not closed");
        // Dropped while it is open, which resets it.
        let _ = health.watch(HealthCheckRequest::default()).await;
    }
}

#[tokio::test]
async fn a_failed_handshake_is_counted() {
    let refused = "totp_facade_connections_refused_total{reason=\"tls_failed\"}";
    let facade = DoorFiles::new(&[&Authority::new()]).facade(sandbox().await).await;
    facade.becomes(refused, 0.0).await;

    let mut stream = TcpStream::connect(facade.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;

    facade.becomes(refused, 1.0).await;
}
