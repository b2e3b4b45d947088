//! A scripted HTTP/2 peer over TLS in Stytch's place. Tests control its frames, so that it can do
//! what no server library would.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

use super::{Setup, folder::Folder};

/// Why a stream is reset, or a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NoError = 0,
    Internal = 2,
    RefusedStream = 7,
    Cancel = 8,
    EnhanceYourCalm = 11,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A listener with a certificate for localhost.
pub struct Http2Peer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    /// Contains `ca.pem`, which the façade trusts.
    pub folder: Folder,
}

impl Http2Peer {
    pub async fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, folder) = (super::listener().await, Folder::new());
        folder.write("ca.pem", &cert.pem());
        Self { listener, acceptor, folder }
    }

    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr().port())
    }

    /// Returns the setup of a façade that calls this peer and trusts it.
    pub fn setup(&self) -> Setup {
        let mut setup = Setup::new(self.addr());
        setup.stytch.base_url = self.url().parse().unwrap();
        setup.stytch.ca_file = Some(self.folder.path("ca.pem"));
        setup
    }

    /// Accepts a connection, on which up to `streams` streams may be open.
    pub async fn accept(&self, streams: u32) -> Connection {
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            // A client that has another connection by now closes this one.
            if let Some(connection) = Connection::start(&self.acceptor, stream, streams).await {
                return connection;
            }
        }
    }

    /// Runs `script` on each connection.
    pub fn serve<F>(self, script: impl Fn(Connection) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(async move {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                let connection = Connection::start(&self.acceptor, stream, 100).await;
                connection.map(|connection| tokio::spawn(script(connection)));
            }
        });
    }
}

/// One connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    bytes: Vec<u8>,
    /// The bodies of streams whose request is not complete.
    partial: Vec<(u32, Vec<u8>)>,
}

/// A complete request.
#[derive(Debug)]
pub struct Request {
    pub stream: u32,
    pub body: String,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Connection {
    async fn start(acceptor: &TlsAcceptor, stream: TcpStream, streams: u32) -> Option<Self> {
        const PREFACE: usize = 24;
        const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
        let mut stream = acceptor.accept(stream).await.ok()?;
        stream.read_exact(&mut [0; PREFACE]).await.ok()?;
        let mut connection = Self { stream, bytes: Vec::new(), partial: Vec::new() };
        let settings = [&MAX_CONCURRENT_STREAMS[..], &streams.to_be_bytes()].concat();
        connection.send(SETTINGS, 0, 0, &settings).await;
        Some(connection)
    }

    /// Returns the next complete request, `None` when the connection is closed. Skips those that
    /// are reset before they are complete. Cancel safe.
    pub async fn request(&mut self) -> Option<Request> {
        loop {
            let frame = self.frame().await?;
            match frame.kind {
                HEADERS => self.partial.push((frame.stream, Vec::new())),
                DATA => {
                    let length = u32::try_from(frame.payload.len()).unwrap();
                    let open = self.partial.iter_mut().find(|(stream, _)| *stream == frame.stream);
                    if let Some((_, body)) = open {
                        body.extend(frame.payload);
                    }
                    if length > 0 {
                        self.send(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()).await;
                    }
                }
                RST_STREAM => self.partial.retain(|(stream, _)| *stream != frame.stream),
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                let at = self.partial.iter().position(|(stream, _)| *stream == frame.stream)?;
                let (stream, body) = self.partial.swap_remove(at);
                return Some(Request { stream, body: String::from_utf8(body).unwrap() });
            }
        }
    }

    /// Answers a request with 200 and this JSON.
    pub async fn answer(&mut self, stream: u32, body: &str) {
        // Entry 8 of HPACK's static table.
        const STATUS_200: u8 = 0x88;
        self.send(HEADERS, END_HEADERS, stream, &[STATUS_200]).await;
        self.send(DATA, END_STREAM, stream, body.as_bytes()).await;
    }

    pub async fn reset(&mut self, stream: u32, reason: Reason) {
        self.send(RST_STREAM, 0, stream, &(reason as u32).to_be_bytes()).await;
    }

    /// Sends a GOAWAY: streams above `last` were not and will not be processed.
    pub async fn go_away(&mut self, last: u32, reason: Reason) {
        let payload = [last.to_be_bytes(), (reason as u32).to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // The client may have gone.
        let _ = self.stream.write_all(&frame).await;
        let _ = self.stream.flush().await;
    }

    async fn frame(&mut self) -> Option<Frame> {
        const HEAD: usize = 9;
        loop {
            if let [a, b, c, kind, flags, s0, s1, s2, s3, rest @ ..] = self.bytes.as_slice() {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
                    let (kind, flags, payload) = (*kind, *flags, payload.to_vec());
                    self.bytes.drain(..HEAD + length);
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
