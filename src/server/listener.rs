//! Accepts connections, no more than a limit at a time.
//!
//! With all file descriptors taken, `accept` fails at once and for as long as that lasts; tonic's own
//! loop would spin on it. At the limit, new connections wait in the kernel's backlog.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The connections of `listener`, at most `limit` of them open.
pub(super) fn connections(
    listener: TcpListener,
    limit: usize,
) -> impl Stream<Item = io::Result<Connection>> {
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(Duration::from_secs(60)));
    let slots = Arc::new(Semaphore::new(limit));
    stream::unfold((incoming, slots), |(mut incoming, slots)| async {
        let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
        let stream = accept(&mut incoming).await?;
        Some((Ok(Connection { stream, _slot: slot }), (incoming, slots)))
    })
}

/// The next connection, however long `accept` fails.
async fn accept(
    incoming: &mut (impl Stream<Item = io::Result<TcpStream>> + Unpin),
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

/// An accepted connection, which holds its slot until it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
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
