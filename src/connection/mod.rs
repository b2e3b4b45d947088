//! The life of one connection: accepted, served, and closed gracefully.
//!
//! Eviction, its maximum age, too many resets and the drain of the server all close it in the same
//! way: the client gets a `GOAWAY`, open calls finish, and a client that does not close the
//! connection is disconnected once that harms no call.

mod events_first;
mod flaws;
mod listener;
mod peer;
mod resets;
pub mod server_certificate;
mod slots;
mod socket;
pub mod tls;
#[cfg(unix)]
mod unix;
mod workers;

use std::{future::poll_fn, pin::Pin, time::Duration};

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Instant, sleep, sleep_until};

use crate::jitter::jittered;
pub(crate) use events_first::EventsFirst;
pub(crate) use listener::Acceptor;
pub use peer::{Peer, PeerAddr};
pub(crate) use resets::{CountResets, MAX_PENDING_RESETS};
pub use slots::OpenCall;
pub(crate) use slots::{Activity, OpenStream, Slots};
pub use socket::Listener;
#[cfg(unix)]
pub use unix::UnixSocket;
pub(crate) use workers::Workers;

/// How long a new connection has for its first call before a drain tells it to close. Not every
/// client retries a call that a `GOAWAY` overtakes.
const NEWCOMER: Duration = Duration::from_millis(100);

/// Serves `connection` until it closes, and asks it to close after `max_age`, if any.
///
/// The connection is boxed because it takes some kilobytes, and a future holds one copy for each
/// move.
pub(crate) async fn serve(
    mut connection: Pin<Box<impl GracefulConnection<Error = hyper::Error>>>,
    activity: &Activity,
    max_age: Option<Duration>,
) {
    activity.mark_ready();
    let start = Instant::now();
    let aged = async {
        match max_age {
            // With jitter, so that clients that connected together do not reconnect together.
            Some(max_age) => sleep(jittered(max_age)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = drive(&mut connection, activity) => return log_failure(result),
        () = activity.closing().cancelled() => {}
        () = aged => activity.close(),
    }
    if !activity.is_evicted() {
        tokio::select! {
            result = drive(&mut connection, activity) => return log_failure(result),
            () = sleep_until(start + NEWCOMER) => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = drive(&mut connection, activity) => log_failure(result),
        () = activity.grace_period() => {
            tracing::debug!("dropping connection: the client does not close it");
        }
    }
}

/// Polls the connection to its end, and records the start of each poll.
async fn drive<C: GracefulConnection<Error = hyper::Error>>(
    connection: &mut Pin<Box<C>>,
    activity: &Activity,
) -> Result<(), hyper::Error> {
    poll_fn(|context| {
        activity.begin_poll();
        connection.as_mut().poll(context)
    })
    .await
}

fn log_failure(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection failed");
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::duplex;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_not_read_is_cut_too() {
        let slots = Slots::new(1, CancellationToken::new());
        let slot = slots.acquire().await;
        // Too small for the first frame.
        let (_client, stream) = duplex(8);
        let service = service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(tonic::body::Body::empty()))
        });
        let http = http2::Builder::new(TokioExecutor::new());
        let connection = Box::pin(http.serve_connection(TokioIo::new(stream), service));
        let start = Instant::now();

        serve(connection, &slot.activity, Some(Duration::from_secs(60))).await;

        let took = start.elapsed().as_secs();
        assert!(
            (54..=69).contains(&took),
            "the age, give or take a tenth, and the grace period: {took} s"
        );
    }
}
