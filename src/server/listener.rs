//! Accepts connections, no more than a limit at a time, and brings them through TLS.
//!
//! With all file descriptors taken, `accept` fails at once and for as long as that lasts; tonic's own
//! loop would spin on it. At the limit idle connections make way, as `slots.rs` says.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpIncoming};

use super::{
    slots::{Activity, Slot, Slots},
    tls::{ClientCertificate, Tls},
};
use crate::reload::Reloaded;

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The connections of `listener`, at most `limit` of them open, those in the handshake included; one more waits,
/// and the rest in the kernel's backlog. Handshakes go on side by side; one that fails or takes too long ends that
/// connection alone. Nothing is accepted once the receiver is dropped.
pub(super) fn connections(
    listener: TcpListener,
    limit: usize,
    tls: Option<Reloaded<Tls>>,
) -> mpsc::Receiver<Connection> {
    let mut incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(Duration::from_secs(60)));
    let slots = Slots::new(limit);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            // First the connection, so that nobody makes way for one that does not come.
            let accepted = async {
                let stream = accept(&mut incoming).await?;
                Some((stream, slots.take().await))
            };
            let (stream, slot) = tokio::select! {
                accepted = accepted => match accepted {
                    Some(accepted) => accepted,
                    None => return,
                },
                // The server closes, and takes no more.
                () = sender.closed() => return,
            };
            let (sender, tls) = (sender.clone(), tls.clone());
            let ready = async move {
                if let Some(connection) = Connection::new(stream, slot, tls.as_ref()).await {
                    let _ = sender.send(connection).await;
                }
            };
            tokio::spawn(ready);
        }
    });
    receiver
}

/// The next connection, however long `accept` fails.
async fn accept(
    incoming: &mut (impl futures_util::Stream<Item = io::Result<TcpStream>> + Unpin),
) -> Option<TcpStream> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match incoming.next().await? {
            Ok(stream) => return Some(stream),
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept connections, pausing");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether only the connection that was about to be accepted is lost.
fn is_about_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Who is at the other end of a connection. In the extensions of each of its requests.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it connects from.
    pub addr: Option<SocketAddr>,
    /// The client's certificate, if it gave one that is trusted.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// What the connection does.
    pub activity: Option<Arc<Activity>>,
}

/// A connection that is ready for HTTP/2, which holds its slot until it is closed.
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    slot: Slot,
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Connection {
    /// Where it comes from.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.peer.addr
    }

    async fn new(stream: TcpStream, slot: Slot, tls: Option<&Reloaded<Tls>>) -> Option<Self> {
        let addr = stream.peer_addr().ok();
        let mut closing = Box::pin(Arc::clone(&slot.activity).closing());
        let (stream, certificate) = match tls {
            None => (Either::Left(stream), None),
            Some(tls) => {
                let tls = tls.get();
                let stream = tokio::select! {
                    stream = handshake(stream, &tls) => stream?,
                    () = &mut closing => return None,
                };
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let certificate = ClientCertificate::new(chain, &tls).map(Arc::new);
                (Either::Right(Box::new(stream)), certificate)
            }
        };
        let activity = Some(Arc::clone(&slot.activity));
        Some(Self { stream, peer: Peer { addr, certificate, activity }, closing, slot })
    }
}

async fn handshake(stream: TcpStream, tls: &Tls) -> Option<TlsStream<TcpStream>> {
    match timeout(HANDSHAKE, TlsAcceptor::from(tls.config()).accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}

impl Connection {
    /// Does `io`, or ends it when the connection is to make way. Also a write is ended, which waits for as long as
    /// the client does not read.
    fn unless_evicted<T>(
        &mut self,
        context: &mut Context<'_>,
        io: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if !self.slot.activity.is_evicted() {
            match io(Pin::new(&mut self.stream), context) {
                Poll::Pending if self.closing.as_mut().poll(context).is_ready() => {}
                polled => return polled,
            }
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.unless_evicted(context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unless_evicted(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_evicted(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_evicted(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_evicted(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn accepting_pauses_while_descriptors_are_exhausted() {
        let exhausted = || Err(io::Error::from_raw_os_error(24));
        let mut incoming = stream::iter([
            exhausted(),
            exhausted(),
            exhausted(),
            Err(io::ErrorKind::ConnectionAborted.into()),
        ]);
        let start = tokio::time::Instant::now();

        let accepted = accept(&mut incoming).await;

        assert!(accepted.is_none(), "the stream of connections is over");
        assert_eq!(start.elapsed(), Duration::from_millis(10 + 20 + 40));
    }

    #[tokio::test]
    async fn a_connection_whose_client_does_not_read_makes_way_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let client = TcpStream::connect(addr).await.expect("a connection");
        let (server, _) = listener.accept().await.expect("its other end");
        let slots = Slots::new(1);
        let slot = slots.take().await;
        let mut connection = Connection::new(server, slot, None).await.expect("no handshake");
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = connection.write_all(&[0; 64 * 1024]).await {
                    return error.kind();
                }
            }
        });

        let _next = slots.take().await;

        assert_eq!(writing.await.expect("no panic"), io::ErrorKind::ConnectionAborted);
        drop(client);
    }
}
