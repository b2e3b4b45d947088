//! A scripted HTTP/1 peer in Stytch's place: a raw socket that does exactly what a test says.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

/// A peer and the requests that it received.
pub struct Peer {
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// A received request.
#[derive(Debug)]
pub struct Request {
    pub head: String,
    pub body: String,
}

/// One accepted connection.
pub struct Connection {
    stream: TcpStream,
    /// Its number, from 1.
    pub number: usize,
    requests: mpsc::UnboundedSender<Request>,
}

impl Peer {
    /// Runs `script` on each connection.
    pub async fn start<F>(script: impl Fn(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::on(super::listener().await, script)
    }

    /// Does the same on a given listener.
    pub fn on<F>(listener: TcpListener, script: impl Fn(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, requests) = mpsc::unbounded_channel();
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(script(Connection { stream, number, requests: sender.clone() }));
            }
        });
        Self { addr, connections, requests }
    }

    /// Answers each request with `answer` at once.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut connection| {
            let answer = Arc::clone(&answer);
            async move {
                while connection.request().await {
                    connection.send(answer.as_slice()).await;
                }
            }
        })
        .await
    }

    /// Answers each request with `answer`, once for each notification.
    pub async fn patient(answer: impl Into<String>) -> (Self, Arc<Notify>) {
        let (answer, told) = (answer.into(), Arc::new(Notify::new()));
        let tell = Arc::clone(&told);
        let peer = Self::start(move |mut connection| {
            let (answer, told) = (answer.clone(), Arc::clone(&told));
            async move {
                while connection.request().await {
                    told.notified().await;
                    connection.send(&answer).await;
                }
            }
        })
        .await;
        (peer, tell)
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits for the next request.
    pub async fn request(&mut self) -> Request {
        tokio::time::timeout(super::PATIENCE, self.requests.recv()).await.unwrap().unwrap()
    }

    /// Returns the number of received requests that the test has not taken yet.
    pub fn pending(&self) -> usize {
        self.requests.len()
    }
}

impl Connection {
    /// Reads one complete request, and keeps it for [`Peer::request`]. Returns whether there was
    /// one.
    pub async fn request(&mut self) -> bool {
        let Some(request) = self.next().await else { return false };
        self.keep(request);
        true
    }

    /// Keeps a request for [`Peer::request`].
    pub fn keep(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// Reads one complete request.
    pub async fn next(&mut self) -> Option<Request> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                break end + 4;
            }
            match self.stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let length = header(&text, "content-length").map_or(0, |length| length.parse().unwrap());
        while bytes.len() < head + length {
            match self.stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        let body = String::from_utf8(bytes[head..].to_vec()).unwrap();
        Some(Request { head: text, body })
    }

    /// Waits until something has arrived, and leaves it unread.
    pub async fn readable(&self) {
        self.stream.readable().await.unwrap();
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Closes with RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Holds the connection open, silently, until the other side closes it.
    pub async fn hold(mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

impl Request {
    /// Returns the request line: method, path and version.
    pub fn line(&self) -> String {
        self.head.lines().next().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Formats a response with a JSON body.
pub fn json(status: u16, body: &str) -> String {
    answer(status, "content-type: application/json\r\n", body)
}

/// Formats a response with these header lines.
pub fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} It\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
