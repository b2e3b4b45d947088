//! Runs a call that was sent to its completion, whatever its caller does.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tonic::Code;

use super::admission::Call;
use crate::{
    status::{Failure, code_name},
    telemetry::{calls::in_this_call, limit::ByCaller},
};

/// A future that runs a call in place, and completes it in a task if dropped after the request was
/// sent.
///
/// It is dropped when the caller goes away or the deadline passes. If nothing was sent by then, the
/// call is abandoned. Otherwise the rest runs in a spawned task, so that the response is read and
/// the outcome is known.
#[must_use = "futures do nothing unless polled"]
pub struct RunToCompletion<T: End> {
    rest: Option<(Work<T>, Call)>,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a call ended.
pub trait End: Send + 'static {
    /// Returns its status code.
    fn code(&self) -> Code;
}

impl<T: Send + 'static> End for Result<T, Failure> {
    fn code(&self) -> Code {
        self.as_ref().map_or_else(Failure::code, |_| Code::Ok)
    }
}

impl<T: End> RunToCompletion<T> {
    /// Creates the future from `call` and its work.
    pub fn new(call: Call, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { rest: Some((Box::pin(future), call)) }
    }
}

impl<T: End> Future for RunToCompletion<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // If the work panics, there is no rest of it.
        let (mut future, call) = self.rest.take().expect("polled after completion");
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            self.rest = Some((future, call));
        }
        polled
    }
}

impl<T: End> Drop for RunToCompletion<T> {
    fn drop(&mut self) {
        let Some((future, call)) = self.rest.take() else { return };
        // Without a runtime, the process is exiting after its drain.
        let runtime = tokio::runtime::Handle::try_current();
        // If it is too late to close the gate, but nothing was sent, a connection holds the request
        // and drops it with the future.
        let runs_on = call.gate.close() && call.gate.is_sent();
        let (true, Ok(runtime)) = (runs_on, runtime) else { return };
        runtime.spawn(in_this_call(async move {
            log(future.await.code());
            drop(call);
        }));
    }
}

fn log(code: Code) {
    static LIMIT: ByCaller = ByCaller::new();

    if let Some(suppressed) = LIMIT.pass() {
        let code = code_name(code);
        tracing::info!(code, suppressed, "call completed after its caller had gone");
    }
}
