//! The call that the current task serves, for the lines that it logs.
//!
//! It is a task-local rather than a span of `tracing`: setting it costs a swap of some words each
//! time that the call is polled, and nothing else unless a line is logged.

use std::{
    cell::{Cell, RefCell},
    fmt::Debug,
    sync::Arc,
};

use futures_util::future::Either;
use tokio::task::futures::TaskLocalFuture;

use super::trace::Ids;

tokio::task_local! {
    static CURRENT: Scope;
}

/// The name of a caller who is not known, or not yet.
const UNKNOWN: &str = "unknown";

/// Somebody who makes calls.
pub(crate) trait Named: Debug + Send + Sync {
    /// Returns the name by which logs show it.
    fn name(&self) -> &str;
}

/// A call that runs in its scope.
pub(crate) type InScope<F> = TaskLocalFuture<Scope, F>;

/// What the lines of a call have in common, and the audit event that it owes.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    method: &'static str,
    ids: Ids,
    caller: RefCell<Option<Arc<dyn Named>>>,
    /// The number of the event, 0 if there is none.
    owed: Cell<u64>,
}

impl Scope {
    /// Creates the scope of a call to `method`.
    pub(crate) fn new(method: &'static str, ids: Ids) -> Self {
        let (caller, owed) = (RefCell::default(), Cell::default());
        Self { method, ids, caller, owed }
    }

    /// Runs the call in its scope.
    pub(crate) fn run<F: Future>(self, call: F) -> InScope<F> {
        CURRENT.scope(self, call)
    }

    /// Passes each field to `add`, apart from those that `has` says the line has by itself.
    pub(super) fn fields<E>(
        &self,
        has: impl Fn(&str) -> bool,
        mut add: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        add("trace_id", self.ids.trace_id().digits(&mut [0; 32]))?;
        add("span_id", self.ids.span_id().digits(&mut [0; 16]))?;
        if !has("method") {
            add("method", self.method)?;
        }
        if !has("caller") {
            add("caller", self.caller.borrow().as_ref().map_or(UNKNOWN, |it| it.name()))?;
        }
        Ok(())
    }
}

/// Makes a future a part of the current call, so that it can run in another task.
pub(crate) fn in_this_call<F: Future>(future: F) -> Either<InScope<F>, F> {
    match CURRENT.try_get() {
        Ok(scope) => Either::Left(CURRENT.scope(scope, future)),
        Err(_) => Either::Right(future),
    }
}

/// Records who makes the current call.
pub(crate) fn identify(caller: &Arc<impl Named + 'static>) {
    // Outside a call, as in tests, there is nothing to record.
    let _ = CURRENT.try_with(|scope| {
        let caller: Arc<dyn Named> = Arc::clone(caller) as _;
        scope.caller.replace(Some(caller));
    });
}

/// Passes the name of who makes the current call to `f`.
pub(super) fn with_caller<T>(f: impl FnOnce(&str) -> T) -> T {
    let named = CURRENT.try_with(|scope| scope.caller.borrow().clone());
    f(named.ok().flatten().as_ref().map_or(UNKNOWN, |it| it.name()))
}

/// Calls `f` with the current call, if there is one.
pub(super) fn with_current<T>(f: impl FnOnce(&Scope) -> T) -> Option<T> {
    CURRENT.try_with(f).ok()
}

/// Makes the current call owe the event with this number.
pub(super) fn owe(event: u64) {
    let _ = CURRENT.try_with(|scope| scope.owed.set(event.max(scope.owed.get())));
}

/// Returns the number of the last event that the current call owes, 0 if there is none.
pub(super) fn owed() -> u64 {
    CURRENT.try_with(|scope| scope.owed.get()).unwrap_or_default()
}
