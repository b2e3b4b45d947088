//! A call that was sent runs to its outcome, whatever its caller does.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tonic::Code;

use super::admission::Call;
use crate::status::Failure;

/// Runs a call in place, as any future. But when it is dropped after the request has been sent, because
/// the caller went away or its time ran out, the rest runs on in a task of its own, so that its outcome
/// is known and the answer is read. Before that the call is given up, and simply dropped.
#[must_use = "futures do nothing unless polled"]
pub struct RunToCompletion<T: Send + 'static> {
    rest: Option<(Work<T>, Call)>,
}

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

impl<T: Send + 'static> RunToCompletion<T> {
    /// `future` is the work of `call`.
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
        let (future, _) = self.rest.as_mut().expect("not polled after its end");
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
        // Without a runtime the process is ending, and the drain has had its time.
        let runtime = tokio::runtime::Handle::try_current();
        // If the gate cannot be closed, the request was sent, or a connection holds it and drops it with
        // the future.
        let runs_on = call.gate.close() && call.gate.is_sent();
        let (true, Ok(runtime)) = (runs_on, runtime) else { return };
        runtime.spawn(async move {
            let code = future.await.map_or_else(|failure| failure.code(), |_| Code::Ok);
            tracing::info!(?code, "a call ended after its caller had gone");
            drop(call);
        });
    }
}
