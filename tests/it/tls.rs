//! Stytch over TLS and HTTP/2, as in production. The façade runs in a process of its own, which
//! trusts the test's authority through `SSL_CERT_FILE`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair, generate_simple_self_signed,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};
use tonic::{Code, transport::Channel};

use crate::{
    secrets,
    support::{
        fixture,
        folder::Folder,
        info, listener,
        process::{Server, run, serve, start},
        pushback,
        rpc::Rpc,
    },
};

/// What the peer does with a stream after it has read the request.
#[derive(Clone, Copy)]
enum Then {
    Answer,
    Reset,
}

/// A stand-in for Stytch: TLS that offers only HTTP/2.
struct TlsPeer {
    url: String,
    certificate: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl TlsPeer {
    async fn start(then: Then) -> Self {
        Self::closing(0, then).await
    }

    /// Closes this many connections during the handshake.
    async fn closing(first: usize, then: Then) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = listener().await;
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if accepted.fetch_add(1, Ordering::SeqCst) < first {
                    continue;
                }
                let (acceptor, counter) = (acceptor.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        counter.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(async move {
                            let line = format!("{} {}", request.method(), request.uri().path());
                            let rpc = Rpc::ALL.into_iter().find(|rpc| rpc.line == line).unwrap();
                            let mut body = request.into_body();
                            while let Some(data) = body.data().await {
                                let length = data.unwrap().len();
                                body.flow_control().release_capacity(length).unwrap();
                            }
                            match then {
                                Then::Reset => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                                Then::Answer => {
                                    let mut stream = respond
                                        .send_response(http::Response::new(()), false)
                                        .unwrap();
                                    let answer = fixture(&format!("{}.response.json", rpc.example));
                                    stream.send_data(Bytes::from(answer), true).unwrap();
                                }
                            }
                        });
                    }
                });
            }
        });
        Self { url, certificate: cert.pem(), connections, requests }
    }
}

/// Starts a façade in front of `peer` that logs everything. `trusts` is a CA file.
async fn facade(peer: &TlsPeer, trusts: &std::path::Path) -> (Server, Channel) {
    let mut command = serve(&peer.url, secrets::STYTCH_SECRET);
    command
        .args(["--drain-delay", "0s", "--log", "trace"])
        .env("NO_PROXY", "localhost")
        .env("SSL_CERT_FILE", trusts);
    let (server, url) = start(command);
    (server, Channel::from_shared(url).unwrap().connect().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_and_http2_a_call_succeeds_on_one_connection_and_trace_logs_hold_no_secret() {
    let peer = TlsPeer::start(Then::Answer).await;
    let folder = Folder::new();
    let file = folder.write("trusted.pem", &peer.certificate);
    let (server, channel) = facade(&peer, &file).await;

    for rpc in Rpc::ALL {
        let answer = rpc.with(channel.clone(), secrets::request(rpc)).await.expect("an answer");

        let expected = (rpc.over_the_wire)(&fixture(&format!("{}.response.json", rpc.example)));
        assert_eq!(answer.into_inner(), expected, "{}", rpc.name);
    }

    assert_eq!(peer.connections.load(Ordering::SeqCst), 1);
    assert_eq!(peer.requests.load(Ordering::SeqCst), Rpc::ALL.len());
    server.signal("TERM");
    let (code, stdout, stderr) = server.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("h2::"), "tracing was on");
    secrets::assert_none_in(&[("stdout", &stdout), ("stderr", &stderr)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_reset_stream_is_an_unknown_outcome_and_only_a_read_is_retried() {
    for rpc in Rpc::ALL {
        let peer = TlsPeer::start(Then::Reset).await;
        let folder = Folder::new();
        let file = folder.write("trusted.pem", &peer.certificate);
        let (_server, channel) = facade(&peer, &file).await;

        let status = rpc.with(channel, secrets::request(rpc)).await.expect_err("a reset stream");

        let (code, requests) = match rpc.reads {
            true => (Code::Unavailable, 1 + totp_facade::stytch::RETRIES),
            false => (Code::Unknown, 1),
        };
        assert_eq!(status.code(), code, "{}", rpc.name);
        assert_eq!(info(&status).upstream, "unknown", "{}", rpc.name);
        assert_eq!(pushback(&status) == Some("-1"), !rpc.reads, "{}", rpc.name);
        assert_eq!(peer.requests.load(Ordering::SeqCst), requests, "{}", rpc.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_not_sent_anything() {
    let peer = TlsPeer::start(Then::Answer).await;
    let other = TlsPeer::start(Then::Answer).await;
    let folder = Folder::new();
    let file = folder.write("trusted.pem", &other.certificate);
    let (_server, channel) = facade(&peer, &file).await;

    for rpc in Rpc::ALL {
        let request = secrets::request(rpc);
        let status = rpc.with(channel.clone(), request).await.expect_err("no trust");

        assert_eq!(status.code(), Code::Unavailable, "{}", rpc.name);
        assert_eq!(info(&status).upstream, "not_sent", "{}", rpc.name);
    }
    assert_eq!(peer.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsent_call_is_retried_and_then_sent_once() {
    for rpc in Rpc::ALL {
        let peer = TlsPeer::closing(totp_facade::stytch::RETRIES, Then::Answer).await;
        let folder = Folder::new();
        let file = folder.write("trusted.pem", &peer.certificate);
        let (_server, channel) = facade(&peer, &file).await;

        rpc.with(channel, secrets::request(rpc)).await.expect("the third attempt");

        assert_eq!(peer.connections.load(Ordering::SeqCst), 1 + totp_facade::stytch::RETRIES);
        assert_eq!(peer.requests.load(Ordering::SeqCst), 1, "{}", rpc.name);
    }
}

/// A stand-in for Stytch that goes no further than the handshake. Returns its URL and its
/// certificate, which is that of an authority or not.
async fn handshakes(is_authority: bool) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), listener().await);
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    (url, certificate.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_trusted_is_explained_with_the_setting_that_helps() {
    for (is_authority, is_named, expected) in [
        (true, true, "the server presents the certificate of an authority (CA:TRUE) as its own"),
        (true, false, "the server presents the certificate of an authority (CA:TRUE) as its own"),
        (false, false, "no trusted authority has issued the server's certificate"),
    ] {
        let (url, certificate) = handshakes(is_authority).await;
        let folder = Folder::new();
        let mut command = serve(&url, secrets::STYTCH_SECRET);
        command.args(["--drain-delay", "0s"]);
        if is_named {
            command.env("STYTCH_CA_FILE", folder.write("ca.pem", &certificate));
        }
        let ids = ["--organization-id", "example-works", "--member-id", "fresh"];
        let stderr = tokio::task::spawn_blocking(move || {
            let (server, url) = start(command);
            let output = run(&[&["create", "--addr", &url], &ids[..]].concat());
            assert_eq!(output.status.code(), Some(1));
            server.signal("TERM");
            server.end().2
        });
        let stderr = stderr.await.unwrap();

        let lines: Vec<_> = stderr.lines().filter(|line| line.contains("certificate")).collect();
        assert!(!lines.is_empty(), "{stderr}");
        for line in lines {
            assert!(line.contains("Stytch cannot be reached: "), "{line}");
            assert!(line.contains(expected) && line.contains("in STYTCH_CA_FILE"), "{line}");
        }
    }
}
