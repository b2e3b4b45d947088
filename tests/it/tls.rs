//! Stytch over TLS and HTTP/2, as in production. The façade runs in a process of its own, which
//! trusts the test's authority through `SSL_CERT_FILE`.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use bytes::Bytes;
use futures_util::future::join_all;
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
        PATIENCE,
        credentials::Authority,
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

/// What is said of a certificate.
const OF_AN_AUTHORITY: &str =
    "the server presents the certificate of an authority (CA:TRUE) as its own";
const UNTRUSTED: &str = "no trusted authority has issued the server's certificate";

/// A server that goes no further than the handshake. Returns its URL and its
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
    // All certificates here have the same name.
    let other = Authority::new().certificate.pem();
    for (is_authority, named, expected) in [
        (true, Some(None), OF_AN_AUTHORITY),
        (true, None, OF_AN_AUTHORITY),
        (false, None, UNTRUSTED),
        (false, Some(Some(&other)), UNTRUSTED),
    ] {
        let (url, certificate) = handshakes(is_authority).await;
        let folder = Folder::new();
        let mut command = serve(&url, secrets::STYTCH_SECRET);
        command.args(["--drain-delay", "0s"]);
        if let Some(other) = named {
            let named = other.unwrap_or(&certificate);
            command.env("STYTCH_CA_FILE", folder.write("ca.pem", named));
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

/// Starts a façade and makes a call. Returns the first line of its log that contains `text`.
fn log_of_a_call(command: Command, text: &str) -> String {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = Server::start_with(command, writer);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|it| sender.send(it))
    });
    let url = format!("http://{}", server.addr("grpc"));
    run(&["create", "--addr", &url, "--organization-id", "o", "--member-id", "m"]);
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("such a line");
        if line.contains(text) {
            return line;
        }
    }
}

/// A server other than Stytch's: the settings that name it and its authorities, and what is logged
/// when it cannot be reached.
struct Other {
    variable: &'static str,
    ca_variable: &'static str,
    failed: &'static str,
}

const JWKS: Other = Other {
    variable: "TOTP_FACADE_JWT_KEYS",
    ca_variable: "TOTP_FACADE_JWT_CA_FILE",
    failed: "cannot fetch the JWKS",
};
const REDIS: Other = Other {
    variable: "TOTP_FACADE_IDEMPOTENCY_URL",
    ca_variable: "TOTP_FACADE_IDEMPOTENCY_CA_FILE",
    failed: "idempotency store failed",
};
const COLLECTOR: Other = Other {
    variable: "OTEL_EXPORTER_OTLP_ENDPOINT",
    ca_variable: "OTEL_EXPORTER_OTLP_CERTIFICATE",
    failed: "traces cannot be sent",
};

/// Checks what is logged of a server with a certificate that is that of an authority or not, where
/// the authorities in a file are trusted, if there is one.
async fn is_explained(
    other: &Other,
    (scheme, path): (&str, &str),
    is_authority: bool,
    file: Option<&Path>,
) {
    let (url, _) = handshakes(is_authority).await;
    let mut command = serve("http://127.0.0.1:1", secrets::STYTCH_SECRET);
    if scheme == "grpc" {
        command.env(other.variable, url).env("OTEL_EXPORTER_OTLP_PROTOCOL", scheme);
    } else {
        command.env(other.variable, url.replace("https", scheme) + path);
    }
    command.envs(file.map(|file| (other.ca_variable, file)));
    if other.variable == JWKS.variable {
        command.args(["--jwt-issuer", "https://issuer.example", "--jwt-audience", "us"]);
    }
    let failed = other.failed;
    let line = tokio::task::spawn_blocking(move || log_of_a_call(command, failed)).await.unwrap();

    let expected = if is_authority { OF_AN_AUTHORITY } else { UNTRUSTED };
    assert!(line.contains(expected), "{scheme}: {line}");
    assert!(line.contains(&format!("in {}", other.ca_variable)), "{scheme}: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_server_that_nobody_trusts_is_explained_with_its_setting() {
    let folder = Folder::new();
    // All certificates here have the same name.
    let file = folder.write("ca.pem", &Authority::new().certificate.pem());
    let cases = [
        (&JWKS, ("https", "/keys"), false, None),
        (&JWKS, ("https", "/keys"), true, None),
        (&COLLECTOR, ("https", ""), false, Some(&*file)),
        (&COLLECTOR, ("grpc", ""), false, None),
        (&REDIS, ("rediss", ""), false, Some(&*file)),
        (&REDIS, ("rediss+sentinel", "/primary"), false, None),
        (&REDIS, ("rediss+cluster", ""), false, None),
        (&REDIS, ("rediss+cluster", ""), false, Some(&*file)),
        (&REDIS, ("rediss+cluster", ""), true, None),
    ];
    join_all(
        cases.map(|(other, url, is_authority, file)| is_explained(other, url, is_authority, file)),
    )
    .await;
}
