//! Accepts connections up to a limit, and performs their TLS handshakes.
//!
//! At the limit, `slots.rs` evicts connections. While the process is out of file descriptors,
//! `accept` fails at once each time, and tonic's own loop would spin; this one pauses.

use std::{io, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use rustls::CertificateError;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};

use super::{
    peer::{Peer, PeerAddr},
    slots::{Activity, Slots},
    socket::{Listener, LocalStream, Socket},
    tls::{ClientCertificate, Tls},
    workers::Workers,
};
use crate::{
    error_chain::find_cause,
    files::Reloaded,
    telemetry::{limit::Limit, metrics::RefusalReason},
};

/// How long to pause after `accept` has failed; doubled each time, up to the maximum.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// An accepted connection: plain TCP first, which most are.
pub(crate) type Stream = Either<TcpStream, Either<Box<TlsStream<TcpStream>>, LocalStream>>;

/// Accepts the connections of a port.
pub(crate) struct Acceptor {
    /// The slots of open connections, including those in the TLS handshake. One more connection is
    /// accepted and waits for a slot; others wait in the kernel's backlog.
    pub(crate) slots: Arc<Slots>,
    pub(crate) tls: Option<Reloaded<Tls>>,
    /// The threads that serve the connections.
    pub(crate) workers: Arc<Workers>,
    /// Once cancelled, connections are soon no longer accepted, and open ones are asked to close.
    pub(crate) closing: CancellationToken,
}

impl Acceptor {
    /// Spawns a task that accepts connections, and a task for each connection, which `serve`
    /// serves. Returns a tracker of the latter. A handshake holds up no other connection.
    pub(crate) fn spawn<S>(
        self,
        listener: Listener,
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
        listener: Listener,
        serve: impl Fn(Stream, Peer, Arc<Activity>) -> S + Clone + Send + 'static,
        tasks: TaskTracker,
    ) where
        S: Future<Output = ()> + Send + 'static,
    {
        let Self { slots, tls, workers, closing } = self;
        let mut incoming = listener.incoming();
        loop {
            // The connection comes first: a slot is freed only for a connection that exists.
            let accepted = async {
                let stream = accept(&mut incoming).await?;
                Some((stream, slots.acquire().await))
            };
            let Some(Some((stream, slot))) = closing.run_until_cancelled(accepted).await else {
                return;
            };
            // Unregistered here, and registered with the runtime that serves the connection.
            let Ok(stream) = stream.detach() else { continue };
            let (serve, tls, slots) = (serve.clone(), tls.clone(), Arc::clone(&slots));
            let worker = workers.least_loaded();
            let served = worker.serves_one_more();
            let task = async move {
                let _served = served;
                let Ok(stream) = stream.attach() else { return };
                // Without TLS it is ready at once, and served even if the drain has just begun: a
                // call may be on its way.
                let ready = tokio::select! {
                    biased;
                    ready = secure(stream, tls.as_ref(), &slots) => ready,
                    () = slot.activity.closing().cancelled() => None,
                };
                if let Some((stream, peer)) = ready {
                    serve(stream, peer, Arc::clone(&slot.activity)).await;
                }
                // Moves the whole slot into the task, with its permit.
                drop(slot);
            };
            tasks.spawn_on(task, &worker.runtime);
        }
    }
}

/// Returns the next connection. Pauses and retries while `accept` fails.
async fn accept(
    incoming: &mut (impl futures_util::Stream<Item = io::Result<Socket>> + Unpin),
) -> Option<Socket> {
    let mut pause = MIN_PAUSE;
    loop {
        match incoming.next().await? {
            Ok(stream) => return Some(stream),
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                static WARNINGS: Limit = Limit::new();
                if let Some(suppressed) = WARNINGS.pass() {
                    tracing::warn!(%error, ?pause, suppressed, "cannot accept connections; pausing");
                }
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// Whether the error concerns only the connection that was about to be accepted.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Performs the TLS handshake, if any. Returns `None` if it fails, and counts that.
async fn secure(
    socket: Socket,
    tls: Option<&Reloaded<Tls>>,
    slots: &Slots,
) -> Option<(Stream, Peer)> {
    let addr = socket.peer();
    let stream = match socket {
        Socket::Tcp(stream) => stream,
        // Nobody can listen in between, and the settings refuse TLS.
        #[cfg(unix)]
        Socket::Unix(stream) => {
            return Some((Either::Right(Either::Right(stream)), Peer { addr, certificate: None }));
        }
    };
    let Some(tls) = tls else {
        return Some((Either::Left(stream), Peer { addr, certificate: None }));
    };
    let now = tls.get();
    let stream = handshake(stream, &now, addr).await;
    let stream = stream.inspect_err(|reason| slots.count_refusal(*reason)).ok()?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = ClientCertificate::new(chain, &now, tls).map(Arc::new);
    Some((Either::Right(Either::Left(Box::new(stream))), Peer { addr, certificate }))
}

async fn handshake(
    stream: TcpStream,
    tls: &Tls,
    peer: Option<PeerAddr>,
) -> Result<TlsStream<TcpStream>, RefusalReason> {
    match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls.config()).accept(stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            if let Some(rustls::Error::InvalidCertificate(error)) = find_cause(&error) {
                warn_of_refusal(error, peer);
            }
            Err(RefusalReason::TlsFailed)
        }
        Err(_) => {
            tracing::debug!("TLS handshake timed out");
            Err(RefusalReason::TlsTimeout)
        }
    }
}

/// Logs why a client certificate was refused. Other failures may be probes of the port.
fn warn_of_refusal(error: &CertificateError, peer: Option<PeerAddr>) {
    static WARNINGS: Limit = Limit::new();

    let Some(suppressed) = WARNINGS.pass() else { return };
    let why = match error {
        // The latter, if an authority has only the name of the issuer.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority in TOTP_FACADE_TLS_CLIENT_CA_FILE has issued the client certificate"
                .into()
        }
        error => format!("the client certificate is refused: {error}"),
    };
    let peer = peer.map(tracing::field::display);
    tracing::warn!(peer, suppressed, why, "TLS handshake refused");
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

        assert!(accepted.is_none(), "the stream of connections has ended");
        assert_eq!(start.elapsed(), Duration::from_millis(10 + 20 + 40));
    }
}
