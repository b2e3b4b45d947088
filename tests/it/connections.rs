//! The connections to Stytch: which authorities they trust, how long they are used, and that no
//! proxy of the environment comes between the façade and its own machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Request, Status, transport::Channel};

use crate::support::{
    Facade, PATIENCE, channel,
    credentials::{AUDIENCE, ISSUER, Issuing, jwks},
    folder::Folder,
    http2::Http2Peer,
    info,
    peer::{self, Peer},
    process::{serve, start},
    rpc::Rpc,
};

const ANSWER: &str = Rpc::CREATE.answer;

#[tokio::test]
async fn the_ca_file_is_trusted_for_stytch_and_reloaded() {
    let (peer, other) = (Http2Peer::new().await, Http2Peer::new().await);
    let read = |peer: &Http2Peer| std::fs::read_to_string(peer.folder.path("ca.pem")).unwrap();
    let (ours, theirs) = (read(&peer), read(&other));
    let folder = Folder::new();
    let mut setup = peer.setup();
    setup.stytch.ca_file = Some(folder.write("ca.pem", &theirs));
    let facade = setup.start().await;
    peer.serve(|mut connection| async move {
        while let Some(request) = connection.request().await {
            connection.answer(request.stream, ANSWER).await;
        }
    });
    let channel = facade.channel().await;
    let status = Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect_err("no trust");
    assert_eq!(info(&status).upstream, "not_sent");

    // Unusable contents leave the old authorities in force.
    folder.write("ca.pem", "");
    folder.write("ca.pem", &ours);

    let start = Instant::now();
    while Rpc::CREATE.try_for(channel.clone(), "fresh").await.is_err() {
        assert!(start.elapsed() < PATIENCE, "it is not read again");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The number of connections that a peer has accepted, and of those that have ended.
#[derive(Clone, Default)]
struct Connections {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Connections {
    fn counts(&self) -> (usize, usize) {
        (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }
}

const CALLERS: usize = 8;

/// Calls without a pause until this many connections have ended at the peer. No call may fail.
async fn survives_renewals(facade: &Facade, connections: &Connections, ended: usize) {
    let start = Instant::now();
    let calls = (0..CALLERS).map(|_| {
        let connections = connections.clone();
        let channel = facade.channel();
        async move {
            let channel = channel.await;
            while connections.counts().1 < ended {
                Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("no call fails");
                assert!(start.elapsed() < PATIENCE, "{:?} begun and ended", connections.counts());
            }
        }
    });
    futures_util::future::join_all(calls).await;
}

#[tokio::test]
async fn connections_of_http2_are_renewed_under_load_with_no_failed_call() {
    let peer = Http2Peer::new().await;
    let mut setup = peer.setup();
    setup.stytch.max_connection_age = Duration::from_millis(50);
    let facade = setup.start().await;
    let connections = Connections::default();
    let counts = connections.clone();
    peer.serve(move |mut connection| {
        let counts = counts.clone();
        async move {
            counts.begun.fetch_add(1, Ordering::SeqCst);
            while let Some(request) = connection.request().await {
                connection.answer(request.stream, ANSWER).await;
            }
            counts.ended.fetch_add(1, Ordering::SeqCst);
        }
    });

    // One at a time, three times.
    survives_renewals(&facade, &connections, 3).await;
}

#[tokio::test]
async fn connections_of_http1_are_renewed_under_load_with_no_failed_call() {
    let connections = Connections::default();
    let counts = connections.clone();
    let peer = Peer::start(move |mut connection| {
        let counts = counts.clone();
        async move {
            counts.begun.fetch_add(1, Ordering::SeqCst);
            while connection.request().await {
                connection.send(peer::json(200, ANSWER)).await;
            }
            counts.ended.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let mut setup = crate::support::Setup::new(peer.addr);
    setup.stytch.max_connection_age = Duration::from_millis(50);
    let facade = setup.start().await;

    // One for each concurrent caller, twice.
    survives_renewals(&facade, &connections, 2 * CALLERS).await;
}

#[tokio::test]
async fn without_an_age_a_connection_is_used_for_as_long_as_it_lasts() {
    let peer = Peer::answering(peer::json(200, ANSWER)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;

    for _ in 0..100 {
        Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("an answer");
    }

    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn each_worker_has_connections_of_its_own_to_stytch() {
    let peer = Peer::answering(peer::json(200, ANSWER)).await;
    let mut setup = crate::support::Setup::new(peer.addr);
    setup.server.worker_threads = 2;
    let facade = setup.start().await;
    let channels = [facade.channel().await, facade.channel().await];

    for _ in 0..10 {
        for channel in &channels {
            Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("an answer");
        }
    }

    assert_eq!(peer.connections(), 2);
}

async fn create_as(channel: &Channel, token: &str) -> Result<(), Status> {
    let mut request = Request::new((Rpc::CREATE.request)("fresh"));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    (Rpc::CREATE.call)(channel.clone(), request).await.map(drop)
}

/// Otherwise a proxy of the environment could supply the JWKS that identifies callers.
#[tokio::test(flavor = "multi_thread")]
async fn urls_on_loopback_never_use_a_proxy_of_the_environment() {
    let (ours, theirs) = (Issuing::new("ours"), Issuing::new("theirs"));
    let issuer = Peer::answering(peer::json(200, &jwks(&[&ours]))).await;
    // The proxy responds in place of any host, with its own JWKS.
    let proxy = Peer::answering(peer::json(200, &jwks(&[&theirs]))).await;
    let stytch = Peer::answering(peer::json(200, ANSWER)).await;
    let folder = Folder::new();
    let policy = "caller = [{ name = 'login', methods = ['*'], \
                  identities = ['jwt:system:serviceaccount:web:login'] }]";
    let mut command = serve(&format!("http://{}", stytch.addr), "secret");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    {
        command.env(name, format!("http://{}", proxy.addr));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    command
        .env("TOTP_FACADE_JWT_ISSUER", ISSUER)
        .env("TOTP_FACADE_JWT_AUDIENCE", AUDIENCE)
        .env("TOTP_FACADE_JWT_KEYS", format!("http://{}/keys", issuer.addr))
        .env("TOTP_FACADE_CALLERS_FILE", folder.write("callers.toml", policy));
    let (_server, url) = start(command);
    let channel = channel(&url).await;

    // The JWKS may not have been fetched yet.
    let (start, good) = (Instant::now(), ours.sign(&json!({})));
    while let Err(status) = create_as(&channel, &good).await {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(start.elapsed() < PATIENCE, "the keys are not fetched");
        sleep(Duration::from_millis(20)).await;
    }
    let status = create_as(&channel, &theirs.sign(&json!({}))).await.expect_err("a stranger's");

    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!((proxy.connections(), issuer.connections()), (0, 1));
    assert_eq!(stytch.pending(), 1);
}

#[tokio::test]
async fn calls_beyond_the_streams_of_one_connection_do_not_wait_for_those_before_them() {
    // The peer permits 100 streams on a connection, and answers none before all have been opened.
    const CALLS: usize = 250;
    let peer = Http2Peer::new().await;
    let mut setup = peer.setup();
    setup.server.worker_threads = 1;
    setup.server.max_in_flight = 1024;
    let facade = setup.start().await;
    let (arrived, _) = watch::channel(0);
    let calls = arrived.clone();
    peer.serve(move |mut connection| {
        let calls = calls.clone();
        async move {
            let (mut others, mut streams) = (calls.subscribe(), Vec::new());
            loop {
                tokio::select! {
                    request = connection.request() => {
                        let Some(request) = request else { return };
                        streams.push(request.stream);
                        calls.send_modify(|calls| *calls += 1);
                    }
                    _ = others.wait_for(|calls| *calls == CALLS) => break,
                }
            }
            for stream in streams {
                connection.answer(stream, ANSWER).await;
            }
            // A connection that is closed with unread frames may lose what was sent last.
            while connection.request().await.is_some() {}
        }
    });
    let mut channels = Vec::new();
    for _ in 0..CALLS.div_ceil(100) {
        channels.push(facade.channel().await);
    }

    let calls = (0..CALLS).map(|call| {
        let channel = channels[call % channels.len()].clone();
        Rpc::CREATE.try_for(channel, "fresh")
    });

    for result in join_all(calls).await {
        result.expect("an answer");
    }
    assert_eq!(*arrived.borrow(), CALLS, "each was sent once");
}
