//! A gRPC client that costs little: unary calls on an HTTP/2 connection, with bytes as messages.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
};
use tokio_rustls::TlsConnector;

use crate::Fallible;

/// Larger than all that is under way, so that no window ever closes.
const WINDOW: u32 = 1 << 24;

/// A connection to a server.
#[derive(Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    driver: AbortHandle,
    end: Rc<Cell<End>>,
    authority: String,
}

/// Whether a connection is to be used.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Open,
    Cut,
    GivenUp,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The gRPC status code.
    pub code: u16,
    /// The `grpc-message`, as it was sent.
    pub text: Option<HeaderValue>,
    /// The messages of the response, each with its prefix of five bytes.
    pub framed: Bytes,
}

impl Connection {
    /// Connects, over TLS if there is a configuration for it.
    pub async fn open(server: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Fallible<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (requests, driver) = match tls {
            None => handshake(stream).await?,
            Some(config) => {
                let connector = TlsConnector::from(config.clone());
                let name = ServerName::try_from("localhost")?;
                handshake(connector.connect(name, stream).await?).await?
            }
        };
        let end = Rc::new(Cell::new(End::Open));
        Ok(Self { requests, driver, end, authority: server.to_string() })
    }

    /// Cuts the connection, whatever is under way on it.
    pub fn cut(&self) {
        self.end.set(End::Cut);
        self.driver.abort();
    }

    /// Makes no more calls on the connection. Those under way go on.
    pub fn give_up(&self) {
        if self.end.get() == End::Open {
            self.end.set(End::GivenUp);
        }
    }

    pub fn is_cut(&self) -> bool {
        self.end.get() == End::Cut
    }

    pub fn is_closed(&self) -> bool {
        self.end.get() != End::Open || self.driver.is_finished()
    }

    /// Returns a request for a method, to which metadata may be added.
    pub fn request(&self, path: &str) -> Request<()> {
        Request::post(format!("http://{}{path}", self.authority))
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .header(http::header::TE, "trailers")
            .header(http::header::USER_AGENT, "totp-facade-bench")
            .body(())
            .expect("a well-formed request")
    }

    /// Makes a call with a framed message, and reads its response to the end.
    pub async fn call(&self, request: Request<()>, framed: Bytes) -> Result<Reply, h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut stream) = requests.send_request(request, false)?;
        stream.send_data(framed, true)?;
        let (head, mut body) = response.await?.into_parts();
        if head.headers.contains_key("grpc-status") {
            return Ok(reply(&head.headers, Bytes::new()));
        }
        let mut framed = Bytes::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            framed = match framed.is_empty() {
                true => data,
                false => join(framed, &data),
            };
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok(reply(&trailers, framed))
    }
}

async fn handshake<S>(stream: S) -> Result<(SendRequest<Bytes>, AbortHandle), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(stream)
        .await?;
    let driver = tokio::task::spawn_local(async move {
        // Its end shows as failed calls.
        let _ = connection.await;
    });
    Ok((requests, driver.abort_handle()))
}

fn join(first: Bytes, second: &[u8]) -> Bytes {
    let mut joined = BytesMut::from(first);
    joined.extend_from_slice(second);
    joined.freeze()
}

/// A response without a status is reported as code 2, unknown.
fn reply(status: &HeaderMap, framed: Bytes) -> Reply {
    let code = status.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    Reply { code: code.unwrap_or(2), text: status.get("grpc-message").cloned(), framed }
}
