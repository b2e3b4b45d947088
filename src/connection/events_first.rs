//! Keeps the promise of the audit trail: the event of a call is written before a byte of its
//! response leaves the process.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::slots::Activity;
use crate::telemetry;

/// How long a connection waits at most for standard error, before it sends the responses all the
/// same: it carries more than those that owe events. It rarely waits, because a call ends only
/// where standard error takes its event; but another process may fill the pipe right after that.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// A stream that writes the audit events of responses before it passes bytes on.
///
/// A call adds its event, and makes the connection owe it, before the connection gets its response.
/// All calls that are answered in one turn of the connection share one write of their events.
pub(crate) struct EventsFirst<T> {
    stream: T,
    activity: Arc<Activity>,
    /// The last event that is written, or was waited for in vain.
    passed: u64,
    waiting: Option<Wait>,
}

/// A wait for the event with this number.
struct Wait {
    event: u64,
    written: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<T> EventsFirst<T> {
    pub(crate) fn new(stream: T, activity: Arc<Activity>) -> Self {
        Self { stream, activity, passed: 0, waiting: None }
    }

    /// Writes the events that are owed.
    fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let event = self.activity.owed();
            if event <= self.passed {
                return Poll::Ready(());
            }
            if telemetry::write_before_response(event) {
                (self.passed, self.waiting) = (event, None);
                return Poll::Ready(());
            }
            let wait = self.waiting.get_or_insert_with(|| {
                let written = timeout(MAX_WAIT, telemetry::written(event));
                Wait { event, written: Box::pin(async { drop(written.await) }) }
            });
            ready!(wait.written.as_mut().poll(context));
            self.passed = wait.event;
            self.waiting = None;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for EventsFirst<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for EventsFirst<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_events(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_events(context));
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
