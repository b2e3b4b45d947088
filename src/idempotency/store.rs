//! What a store of idempotency records does. Each store is one implementation of [`Store`].
//!
//! A store encrypts what it holds, because responses contain secrets. `settings.rs` lists the
//! stores.

use std::fmt::Debug;

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either, Ready, ready},
};

use tokio::time::Instant;

use super::{
    key::{Fingerprint, RecordId},
    record::{Ended, Found},
};
use crate::{call::Call, telemetry::metrics::StoreKind};

/// Why a store cannot be opened or used.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a store: ready, so that the memory store allocates nothing, or a future.
pub(super) type StoreFuture<'a, T> = Either<Ready<T>, BoxFuture<'a, T>>;

/// Holds the records of calls with a key.
///
/// The caller ensures that one process claims a key once at a time; a store that several processes
/// share has to ensure the same among them.
pub(super) trait Store: Debug + Send + Sync {
    /// Returns its name in metrics and traces.
    fn kind(&self) -> StoreKind;

    /// Returns where the store is, for the log. Empty if it is this process.
    fn address(&self) -> &str {
        ""
    }

    /// Logs whether the store can be used, where that may change.
    fn probe(&self) -> StoreFuture<'_, ()> {
        ready(()).left_future()
    }

    /// Claims the key of a call, or finds its record. Waits while another process executes the
    /// call.
    ///
    /// An error means that the call must not be sent.
    fn claim(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
    ) -> StoreFuture<'_, Result<Claim, StoreError>>;

    /// Replaces the claim by the outcome of its call. A store that fails logs it and keeps
    /// retrying, because the caller has its response in any case. What it does later, but before
    /// the process may end, holds a handle to `call`.
    fn record(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
        token: Token,
        ended: &Ended,
        call: &Call,
    ) -> StoreFuture<'_, ()>;

    /// Waits for what is retried in the background, until this time, and logs what is lost.
    fn settle_by(&self, _until: Instant) -> StoreFuture<'_, ()> {
        ready(()).left_future()
    }

    /// Withdraws the claim, so that the next call with the key is executed. Retries as
    /// [`Store::record`] does.
    fn release(&self, id: RecordId, token: Token) -> StoreFuture<'_, ()>;
}

/// What a claim leads to.
pub(super) enum Claim {
    /// The caller holds the key, and must record or release it.
    Granted(Token),
    /// The key has a record. [`Found::Pending`] means that the process that claimed it is gone.
    Found(Found),
}

/// Distinguishes a claim from all others of its key. A store in which claims cannot collide uses
/// the default.
#[derive(Clone, Copy, Default)]
pub(super) struct Token(pub(super) [u8; 16]);
