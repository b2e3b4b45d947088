//! The life of one connection: served until it closes, or until it is to end, and then gracefully.
//!
//! Whatever ends it (eviction, its age, too many resets, the drain of the server), its client is told to go elsewhere
//! (`GOAWAY`), calls that are open finish, and one that will not close is cut when that harms no call.

mod listener;
mod resets;
mod slots;
pub mod tls;

use std::{future::poll_fn, pin::Pin, time::Duration};

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::sleep;

use crate::jitter::jittered;
pub(crate) use listener::Accepting;
pub use listener::Peer;
pub(crate) use resets::{Counted, MAX_UNSEEN_RESETS};
pub use slots::OpenCall;
pub(crate) use slots::{Activity, Watch};

/// Serves `connection` to its end. It is asked to end after `max_age`, where there is one.
///
/// It is boxed, for a future holds what is moved through it once for each move, and a connection is some kilobytes.
pub(crate) async fn serve(
    mut connection: Pin<Box<impl GracefulConnection<Error = hyper::Error>>>,
    activity: &Activity,
    max_age: Option<Duration>,
) {
    activity.is_ready();
    let aged = async {
        match max_age {
            // Clients that connected together do not come back together.
            Some(max_age) => sleep(jittered(max_age)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = turns(&mut connection, activity) => return report(result),
        () = activity.closing().cancelled() => {}
        () = aged => activity.close(),
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = turns(&mut connection, activity) => report(result),
        () = activity.may_be_cut() => tracing::debug!("a connection is cut: its client would not close it"),
    }
}

/// Looks at the connection whenever there is something new, and says when. By the end of a turn everything that was
/// read in it has been looked at.
async fn turns<C: GracefulConnection<Error = hyper::Error>>(
    connection: &mut Pin<Box<C>>,
    activity: &Activity,
) -> Result<(), hyper::Error> {
    poll_fn(|context| {
        activity.begin_turn();
        connection.as_mut().poll(context)
    })
    .await
}

fn report(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection failed");
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::{io::duplex, time::Instant};
    use tokio_util::sync::CancellationToken;

    use super::{slots::Slots, *};

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_client_does_not_read_is_cut_too() {
        let slots = Slots::new(1, CancellationToken::new());
        let slot = slots.take().await;
        // Less room than the first frame takes.
        let (_client, stream) = duplex(8);
        let service = service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(tonic::body::Body::empty()))
        });
        let http = http2::Builder::new(TokioExecutor::new());
        let connection = Box::pin(http.serve_connection(TokioIo::new(stream), service));
        let start = Instant::now();

        serve(connection, &slot.activity, Some(Duration::from_secs(60))).await;

        let took = start.elapsed().as_secs();
        assert!((54..=69).contains(&took), "a tenth more or less, and its grace: {took} s");
    }
}
