//! Runs a call that was sent to its completion, whatever its caller does.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tonic::Code;

use super::admission::Call;
use crate::{
    status::Failure,
    telemetry::{calls::in_this_call, limit::ByCaller},
};

/// A future that runs a call in place, and completes it in a task if dropped after the request was
/// sent.
///
/// It is dropped when the caller goes away or the deadline passes. If nothing was sent by then, the
/// call is abandoned. Otherwise the rest runs in a spawned task, so that the response is read and
/// the outcome is known.
#[must_use = "futures do nothing unless polled"]
pub struct RunToCompletion<T: Send + 'static> {
    rest: Option<(Work<T>, Call)>,
}

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

impl<T: Send + 'static> RunToCompletion<T> {
    /// Creates the future from `call` and its work.
    pub fn new(
        call: Call,
        future: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Self {
        Self { rest: Some((Box::pin(future), call)) }
    }
}

impl<T: Send + 'static> Future for RunToCompletion<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, _) = self.rest.as_mut().expect("polled after completion");
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for RunToCompletion<T> {
    fn drop(&mut self) {
        let Some((future, call)) = self.rest.take() else { return };
        // Without a runtime, the process is exiting after its drain.
        let runtime = tokio::runtime::Handle::try_current();
        // If it is too late to close the gate, but nothing was sent, a connection holds the request
        // and drops it with the future.
        let runs_on = call.gate.close() && call.gate.is_sent();
        let (true, Ok(runtime)) = (runs_on, runtime) else { return };
        runtime.spawn(in_this_call(async move {
            let code = future.await.map_or_else(|failure| failure.code(), |_| Code::Ok);
            log(code);
            drop(call);
        }));
    }
}

fn log(code: Code) {
    static LIMIT: ByCaller = ByCaller::new();

    if let Some(suppressed) = LIMIT.pass() {
        tracing::info!(?code, suppressed, "call completed after its caller had gone");
    }
}
