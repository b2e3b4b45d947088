//! Idempotency keys: Stytch executes a call once, and every call with its key gets the same
//! response.
//!
//! 1. **Join.** Calls in this process with the same key share one flight. The first leads it, to
//!    its end, even if all callers are gone (`flight.rs`).
//! 2. **Claim.** The leader claims the key in the store. If the key has a record already, its
//!    outcome is *replayed*.
//! 3. **Call.** With the claim granted, the leader sends the request.
//! 4. **Record or release.** If a retry must not be sent, the outcome is recorded. Otherwise, as
//!    when nothing was sent, the claim is released and the next call with the key is executed.
//!
//! The stores implement one trait (`store.rs`): memory, for one process, and Redis, for several.
//!
//! The trap: a leader whose claim was granted must record or release it on every way out, panics
//! included.

mod flight;
mod health;
mod key;
mod memory;
mod record;
mod redis;
mod seal;
mod settings;
mod spans;
mod store;
mod waiting;

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;

pub use flight::Origin;
use flight::{Flight, Flights, Joined, Leader, Settled};
use health::Health;
use key::RecordId;
pub use key::{Fingerprint, Key};
use record::{Ended, Found};
pub use redis::{RedisSettings, check_url, is_tls, without_credentials};
pub use settings::{Settings, StoreSettings};
pub use store::StoreError;
use store::{Claim, Store, Token};
use tokio::time::Instant;
use waiting::Waiting;

use crate::{
    call::{Call, RunToCompletion},
    status::{Case, Failure},
    stytch,
    telemetry::{
        metrics::{KeyedOutcome, Metrics, StoreOperation},
        trace::attributes::IDEMPOTENCY,
    },
    translate::Encoded,
};

/// Executes calls with an idempotency key once. Clones share the flights and the store.
#[derive(Clone, Debug)]
pub struct Idempotency(Arc<Inner>);

struct Inner {
    project_id: String,
    store: Box<dyn Store>,
    flights: Flights,
    health: Health,
    metrics: Metrics,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Idempotency {
    /// Opens the store. Needs a runtime; the connection to Redis is made when it is first used.
    ///
    /// # Errors
    ///
    /// When the URL of Redis is invalid, or its CA file cannot be used.
    pub fn new(
        settings: &Settings,
        client: &stytch::Client,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Inner {
            project_id: client.settings().project_id.clone(),
            store: settings.open(client, metrics)?,
            flights: Flights::new(),
            health: Health::default(),
            metrics: metrics.clone(),
        })))
    }

    /// Logs whether the store can be used.
    pub async fn probe(&self) {
        self.0.store.probe().await;
    }

    /// Waits until the store has the outcomes of all calls that have ended, but not beyond this
    /// time.
    pub async fn settle_by(&self, until: Instant) {
        self.0.store.settle_by(until).await;
    }

    /// Executes `call` by `work`, which returns the encoded response, or returns the outcome of an
    /// earlier call with the same key.
    ///
    /// # Errors
    ///
    /// The failure of this call or the earlier one; `INVALID_ARGUMENT` if the key was used for
    /// another request; `UNAVAILABLE` if the store cannot be reached, and then nothing was sent.
    pub async fn run<Work>(
        &self,
        key: &Key,
        fingerprint: Fingerprint,
        call: &Call,
        work: impl FnOnce(Call) -> Work + Send + 'static,
    ) -> (Result<Encoded<()>, Failure>, Origin)
    where
        Work: Future<Output = Result<Encoded<()>, Failure>> + Send + 'static,
    {
        let id = RecordId::new(&self.0.project_id, call.caller().name(), call.method(), key);
        let detached = call.detached();
        let settled = match self.join(id, fingerprint).await {
            None => {
                self.count(call, KeyedOutcome::KeyReused);
                return (Err(self.reused()), Origin::Fresh);
            }
            Some(Joined::Leads(leader)) => {
                let lead = self.clone().lead(leader, detached, work);
                RunToCompletion::new(call.clone(), lead).await
            }
            Some(Joined::Waits(flight)) => self.wait(call, flight).await,
        };
        let origin = settled.origin();
        if origin == Origin::Replayed {
            self.0.metrics.idempotency_replays.inc();
            if let Some(span) = settled.ended.span {
                call.trace().link(span);
            }
        }
        (settled.ended.result, origin)
    }

    /// Waits for the outcome of a flight that another call leads.
    async fn wait(&self, call: &Call, flight: Flight) -> Settled {
        let _waiting = Waiting::begin(&self.0.metrics);
        let settled = flight.settled().await;
        let how = match settled.how {
            KeyedOutcome::Executed => KeyedOutcome::Waited,
            how => how,
        };
        self.count(call, how);
        Settled { how, ..settled }
    }

    /// Counts a call by what became of it. A leader counts even if its caller has gone.
    fn count(&self, call: &Call, how: KeyedOutcome) {
        call.trace().record(|span| span.set(IDEMPOTENCY, how.as_str()));
        self.0.metrics.idempotency_calls.get(how).inc();
    }

    /// Joins the flight of a key. Returns `None` if the key belongs to another request.
    async fn join(&self, id: RecordId, fingerprint: Fingerprint) -> Option<Joined> {
        loop {
            let mut flight = match self.0.flights.join(id, fingerprint) {
                Joined::Waits(flight) if flight.fingerprint != fingerprint => flight,
                joined => return Some(joined),
            };
            let _waiting = Waiting::begin(&self.0.metrics);
            // The other request may be refused the key, and then this one may have it.
            if flight.is_executed().await {
                return None;
            }
        }
    }

    /// Executes a call for all who share its flight, and returns what they all get.
    async fn lead<Work>(
        self,
        leader: Leader,
        call: Call,
        work: impl FnOnce(Call) -> Work,
    ) -> Settled
    where
        Work: Future<Output = Result<Encoded<()>, Failure>>,
    {
        // The drain waits for this clone, so that the outcome is recorded before the process ends.
        let open = call.clone();
        let settled = match self.claim(&leader, &open).await {
            Err(settled) => settled,
            Ok(token) => {
                leader.start();
                let result = catch_panic(work(call)).await;
                let ended = Ended { result, span: open.trace().recorded_ids() };
                self.settle(&leader, &open, token, &ended).await;
                Settled::executed(ended)
            }
        };
        self.count(&open, settled.how);
        leader.finish(settled.clone());
        settled
    }

    /// Claims the key, or returns what settles the flight without a call.
    async fn claim(
        &self,
        Leader { id, fingerprint, .. }: &Leader,
        call: &Call,
    ) -> Result<Token, Settled> {
        let store = &self.0.store;
        let span = spans::begin(call.trace(), store.kind(), StoreOperation::Claim);
        let claim = store.claim(*id, *fingerprint).await;
        spans::claimed(span, &claim);
        match claim {
            Ok(Claim::Granted(token)) => {
                self.0.health.recover(store.address());
                Ok(token)
            }
            Ok(Claim::Found(Found::Ended(ended))) => Err(Settled::replayed(ended)),
            Ok(Claim::Found(Found::Reused)) => {
                Err(Settled::refused(self.reused(), KeyedOutcome::KeyReused))
            }
            // The process that executed the call is gone, or the secret has been rotated since.
            Ok(Claim::Found(Found::Pending | Found::Unreadable)) => Err(Settled::unknown()),
            Err(error) => Err(Settled::refused(self.no_store(&error), KeyedOutcome::StoreFailed)),
        }
    }

    async fn settle(
        &self,
        Leader { id, fingerprint, .. }: &Leader,
        call: &Call,
        token: Token,
        ended: &Ended,
    ) {
        let store = &self.0.store;
        let span = |operation| spans::begin(call.trace(), store.kind(), operation);
        if ended.is_remembered() {
            let _span = span(StoreOperation::Record);
            store.record(*id, *fingerprint, token, ended, call).await;
        } else {
            let _span = span(StoreOperation::Release);
            store.release(*id, token).await;
        }
    }

    fn reused(&self) -> Failure {
        self.0.metrics.idempotency_key_reuses.inc();
        Failure::key_reused()
    }

    fn no_store(&self, error: &StoreError) -> Failure {
        self.0.metrics.idempotency_store_failures.inc();
        self.0.health.fail(self.0.store.address(), error);
        Case::NoIdempotencyStore.into()
    }
}

/// Runs a call to its end. After a panic the outcome is unknown.
async fn catch_panic(
    work: impl Future<Output = Result<Encoded<()>, Failure>>,
) -> Result<Encoded<()>, Failure> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|_| Err(Case::Panicked.into()))
}
