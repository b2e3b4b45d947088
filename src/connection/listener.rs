//! Accepts connections, no more than a limit at a time, and brings them through TLS.
//!
//! With all file descriptors taken, `accept` fails at once and for as long as that lasts; tonic's own loop would spin
//! on it. At the limit connections are evicted, as `slots.rs` says.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::TcpIncoming;

use super::{
    slots::{Activity, Slots},
    tls::{ClientCertificate, Tls},
};
use crate::files::Reloaded;

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The bytes of a connection.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it connects from.
    pub addr: Option<SocketAddr>,
    /// The client's certificate, if it gave one that is trusted.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// How connections are accepted.
pub(crate) struct Accepting {
    /// How many may be open, those in the handshake included; one more waits, and the rest in the kernel's backlog.
    pub(crate) limit: usize,
    pub(crate) tls: Option<Reloaded<Tls>>,
    /// Cancelled when nothing is accepted any more and all connections are to end.
    pub(crate) closing: CancellationToken,
}

impl Accepting {
    /// Serves each connection of `listener` by `serve`, in tasks that the tracker returned knows. Handshakes go on side
    /// by side; one that fails or takes too long ends that connection alone.
    pub(crate) fn start<S>(
        self,
        listener: TcpListener,
        serve: impl Fn(Stream, Peer, Arc<Activity>) -> S + Clone + Send + 'static,
    ) -> TaskTracker
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let tasks = TaskTracker::new();
        tokio::spawn(self.accept_all(listener, serve, tasks.clone()));
        tasks
    }

    async fn accept_all<S>(
        self,
        listener: TcpListener,
        serve: impl Fn(Stream, Peer, Arc<Activity>) -> S + Clone + Send + 'static,
        tasks: TaskTracker,
    ) where
        S: Future<Output = ()> + Send + 'static,
    {
        let Self { limit, tls, closing } = self;
        let mut incoming = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(Duration::from_secs(60)));
        let slots = Slots::new(limit, closing.clone());
        loop {
            // First the connection, so that nobody is evicted for one that does not come.
            let accepted = async {
                let stream = accept(&mut incoming).await?;
                Some((stream, slots.take().await))
            };
            let Some(Some((stream, slot))) = closing.run_until_cancelled(accepted).await else {
                return;
            };
            let (serve, tls) = (serve.clone(), tls.clone());
            tasks.spawn(async move {
                let ready = ready(stream, tls.as_ref());
                let ready = slot.activity.closing().run_until_cancelled(ready).await;
                if let Some(Some((stream, peer))) = ready {
                    serve(stream, peer, Arc::clone(&slot.activity)).await;
                }
                // The whole of it moves in here, its permit too.
                drop(slot);
            });
        }
    }
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

/// The connection once it is ready for HTTP, with who is at its other end.
async fn ready(stream: TcpStream, tls: Option<&Reloaded<Tls>>) -> Option<(Stream, Peer)> {
    let addr = stream.peer_addr().ok();
    let Some(tls) = tls else {
        return Some((Either::Left(stream), Peer { addr, certificate: None }));
    };
    let now = tls.get();
    let stream = handshake(stream, &now).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = ClientCertificate::new(chain, &now, tls).map(Arc::new);
    Some((Either::Right(Box::new(stream)), Peer { addr, certificate }))
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

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
}
