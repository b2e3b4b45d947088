//! The same key gives the same answer, and Stytch is asked once.
//!
//! A keyed call is made in a task of its own, its flight, which runs to its end whatever its callers do.
//! Calls with the same key join it while it lasts; afterwards its record tells them what it was told. What was
//! not sent is not recorded. Records are kept in this process (`memory.rs`) or in Redis (`redis.rs`),
//! sealed in both, for answers hold secrets.
//!
//! The trap: a flight that was granted a claim must record or release it on every way out, panics included.

mod address;
mod authorities;
mod key;
mod link;
mod memory;
mod record;
mod redis;
mod replicas;
mod seal;

use std::{panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use ::redis::RedisError;
use futures_util::FutureExt as _;
use moka::sync::Cache;
use secrecy::SecretString;
use tokio::{sync::watch, time::sleep};

use crate::{
    call::Call,
    files::Reloaded,
    status::{Case, Failure},
    stytch::{self, Credentials},
    telemetry::metrics::Metrics,
};
pub use address::{check_url, is_tls, without_credentials};
use key::Identity;
pub use key::{Fingerprint, Key};
use memory::Memory;
use record::{Outcome, Record, Unusable};
use redis::{Claim, Redis, Token};
use seal::Sealer;

/// How often a replica looks whether the holder of a record has ended: first, and at the longest.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(200);

/// Where records are kept, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the end of a call.
    pub ttl: Duration,
    /// Where.
    pub store: StoreSettings,
}

/// Where records are kept.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In this process.
    Memory {
        /// What they may take in all.
        max_bytes: u64,
    },
    /// In Redis.
    Redis(RedisSettings),
}

/// Where Redis is, and what it has to be.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Of a server, of Sentinels, or of a cluster; may hold passwords.
    pub url: SecretString,
    /// How many replicas of it must have a claim before a call is sent.
    pub min_replicas: u8,
    /// Authorities to trust there beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
}

/// What is known of a call's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This call was made.
    Fresh,
    /// It was told what another was told.
    Replayed,
}

/// What has been asked with which key. Clones share it.
#[derive(Clone, Debug)]
pub struct Idempotency(Arc<Inner>);

struct Inner {
    project_id: String,
    store: Store,
    /// No more than there are calls in the process.
    flights: Cache<Identity, Flight>,
    metrics: Metrics,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Where records are, and what seals them.
#[derive(Debug)]
enum Store {
    Memory(Memory, Sealer),
    Redis(Redis, Reloaded<Credentials>),
}

/// A call under way, as those with its key see it.
#[derive(Clone)]
struct Flight {
    fingerprint: Fingerprint,
    state: watch::Receiver<State>,
}

/// How far a flight is.
enum State {
    /// It asks the store whether there is anything to do.
    Asking,
    /// The call is being made.
    Calling,
    /// The call has ended, now or earlier.
    Told(Told),
}

/// What a flight's callers are told.
#[derive(Clone)]
struct Told {
    outcome: Outcome,
    origin: Origin,
}

impl Told {
    fn fresh(outcome: Outcome) -> Self {
        Self { outcome, origin: Origin::Fresh }
    }

    fn replayed(outcome: Outcome) -> Self {
        Self { outcome, origin: Origin::Replayed }
    }

    /// Nobody knows how the call ended.
    fn unknown() -> Self {
        Self::replayed(Outcome::Failure(Case::OutcomeUnknown.into()))
    }
}

/// A flight as its task sees it; over when dropped.
struct Underway {
    idempotency: Idempotency,
    identity: Identity,
    fingerprint: Fingerprint,
    state: watch::Sender<State>,
    told: Option<Told>,
}

impl Idempotency {
    /// Prepares the store; Redis is connected to when it is first needed.
    ///
    /// # Errors
    ///
    /// When the URL is none of Redis, or the file of authorities holds none.
    pub fn new(
        settings: &Settings,
        client: &stytch::Client,
        metrics: &Metrics,
    ) -> Result<Self, RedisError> {
        let stytch = client.settings();
        let store = match &settings.store {
            StoreSettings::Memory { max_bytes } => {
                let memory = Memory::new(settings.ttl, *max_bytes, metrics.clone());
                Store::Memory(memory, Sealer::random())
            }
            StoreSettings::Redis(redis) => {
                let redis = Redis::new(redis, settings.ttl, stytch.timeout, metrics.clone())?;
                Store::Redis(redis, client.credentials().clone())
            }
        };
        Ok(Self(Arc::new(Inner {
            project_id: stytch.project_id.clone(),
            store,
            flights: Cache::builder().build(),
            metrics: metrics.clone(),
        })))
    }

    /// Says in the log whether the store can be used.
    pub async fn probe(&self) {
        let Store::Redis(redis, _) = &self.0.store else { return };
        match redis.probe().await {
            Ok(()) => tracing::info!("idempotency keys are remembered in Redis"),
            Err(error) => tracing::warn!(
                %error,
                "idempotency store failed: calls with a key are refused until Redis can be used"
            ),
        }
    }

    /// Makes `call` by `work`, or tells what a call with the same key was told.
    ///
    /// # Errors
    ///
    /// The failure of the call, now or then; `INVALID_ARGUMENT` when the key was used for another request;
    /// `UNAVAILABLE` when the store cannot be reached, and then nothing was sent.
    pub async fn run<Res, Work>(
        &self,
        key: &Key,
        fingerprint: Fingerprint,
        call: &Call,
        work: impl FnOnce(Call) -> Work + Send + 'static,
    ) -> (Result<Res, Failure>, Origin)
    where
        Res: prost::Message + Default + 'static,
        Work: Future<Output = Result<Res, Failure>> + Send + 'static,
    {
        let caller = call.caller().name();
        let identity = Identity::new(&self.0.project_id, caller, call.method(), key);
        let detached = call.detached();
        let (flight, underway) = loop {
            let (mut flight, underway) = self.board(identity, fingerprint);
            if flight.fingerprint == fingerprint {
                break (flight, underway);
            }
            // Another request with this key is under way. If it has the key, this one has not; if it is refused
            // the key itself, this one may have it.
            let asked = flight.state.wait_for(|state| !matches!(state, State::Asking)).await;
            if matches!(asked.as_deref(), Ok(State::Calling)) {
                return (Err(self.reused()), Origin::Fresh);
            }
        };
        let is_ours = underway.is_some();
        if let Some(underway) = underway {
            tokio::spawn(underway.fly(detached, work));
        }
        let Told { outcome, origin } = flight.land().await;
        let origin = if is_ours { origin } else { Origin::Replayed };
        if origin == Origin::Replayed {
            self.0.metrics.idempotency_replays.inc();
        }
        let result = match outcome {
            Outcome::Answer(answer) => Res::decode(answer).map_err(|_| Case::OutcomeUnknown.into()),
            Outcome::Failure(failure) => Err(failure),
        };
        (result, origin)
    }

    /// The flight of this key, and the means to begin it where there was none.
    fn board(&self, identity: Identity, fingerprint: Fingerprint) -> (Flight, Option<Underway>) {
        let mut underway = None;
        let flight = self.0.flights.entry(identity).or_insert_with(|| {
            let (sender, state) = watch::channel(State::Asking);
            underway = Some(Underway {
                idempotency: self.clone(),
                identity,
                fingerprint,
                state: sender,
                told: None,
            });
            Flight { fingerprint, state }
        });
        (flight.into_value(), underway)
    }

    fn reused(&self) -> Failure {
        self.0.metrics.idempotency_key_reuses.inc();
        Failure::key_reused()
    }
}

impl Flight {
    /// Waits for its end.
    async fn land(mut self) -> Told {
        match self.state.wait_for(|state| matches!(state, State::Told(_))).await.as_deref() {
            Ok(State::Told(told)) => told.clone(),
            // Only a process that ends gives up its flights.
            Ok(State::Asking | State::Calling) | Err(_) => Told::unknown(),
        }
    }
}

impl Underway {
    async fn fly<Res, Work>(mut self, call: Call, work: impl FnOnce(Call) -> Work)
    where
        Res: prost::Message,
        Work: Future<Output = Result<Res, Failure>>,
    {
        // Held until the end is recorded, for the drain to wait.
        let held = call.clone();
        self.told = Some(match self.claim().await {
            Err(told) => told,
            Ok(claim) => {
                self.state.send_replace(State::Calling);
                let outcome = outcome(work(call)).await;
                self.settle(claim, &outcome).await;
                Told::fresh(outcome)
            }
        });
        drop(self);
        drop(held);
    }

    /// The right to make the call, or what its callers are to be told instead.
    async fn claim(&self) -> Result<Option<Token>, Told> {
        let Self { identity, fingerprint, .. } = self;
        let (redis, sealer) = match &self.idempotency.0.store {
            Store::Memory(memory, sealer) => {
                return match memory.get(identity) {
                    None => Ok(None),
                    Some(sealed) => {
                        Err(self.recorded(&sealed, sealer).unwrap_or_else(Told::unknown))
                    }
                };
            }
            Store::Redis(redis, credentials) => (redis, sealer_of(credentials)),
        };
        let pending = Record::Pending.seal(&sealer, identity, *fingerprint);
        let mut look = FIRST_LOOK;
        loop {
            match redis.claim(identity, &pending).await {
                Ok(Claim::Granted(token)) => return Ok(Some(token)),
                Ok(Claim::Kept { sealed, lease }) => match (self.recorded(&sealed, &sealer), lease)
                {
                    (Some(told), _) => return Err(told),
                    (None, None) => return Err(Told::unknown()),
                    (None, Some(lease)) => sleep(look.min(lease).mul_f64(jitter())).await,
                },
                Err(error) => return Err(self.no_store(&error)),
            }
            look = (look * 2).min(LONGEST_LOOK);
        }
    }

    /// What a record says, unless its call is still under way.
    fn recorded(&self, sealed: &[u8], sealer: &Sealer) -> Option<Told> {
        match Record::open(sealed, sealer, &self.identity, self.fingerprint) {
            Ok(Record::Pending) => None,
            Ok(Record::Ended(outcome)) => Some(Told::replayed(outcome)),
            Err(Unusable::Reused) => Some(Told::fresh(Outcome::Failure(self.idempotency.reused()))),
            // As after a rotation of the secret.
            Err(Unusable::Sealed) => Some(Told::unknown()),
        }
    }

    fn no_store(&self, error: &RedisError) -> Told {
        self.idempotency.0.metrics.idempotency_store_failures.inc();
        tracing::warn!(%error, "idempotency store failed: a call with a key is refused");
        Told::fresh(Outcome::Failure(Case::NoIdempotencyStore.into()))
    }

    /// Records the end of the call, or gives the right back when nothing was sent.
    async fn settle(&self, claim: Option<Token>, outcome: &Outcome) {
        let ended = |sealer: &Sealer| {
            let record = outcome.is_remembered().then(|| Record::Ended(outcome.clone()));
            record.map(|record| record.seal(sealer, &self.identity, self.fingerprint))
        };
        match (&self.idempotency.0.store, claim) {
            (Store::Memory(memory, sealer), _) => {
                if let Some(ended) = ended(sealer) {
                    memory.put(self.identity, ended);
                }
            }
            (Store::Redis(redis, credentials), Some(token)) => match ended(&sealer_of(credentials))
            {
                Some(ended) => redis.record(&self.identity, token, &ended).await,
                None => redis.release(&self.identity, token).await,
            },
            (Store::Redis(..), None) => {}
        }
    }
}

/// What seals records in Redis at present; the secret may be rotated.
fn sealer_of(credentials: &Reloaded<Credentials>) -> Sealer {
    Sealer::derived(credentials.get().secret())
}

impl Drop for Underway {
    fn drop(&mut self) {
        // Before its callers are told, so that one that asks again at once does not meet this flight.
        self.idempotency.0.flights.invalidate(&self.identity);
        if let Some(told) = self.told.take() {
            self.state.send_replace(State::Told(told));
        }
    }
}

/// How a call ended. A panic leaves its outcome unknown.
async fn outcome<Res: prost::Message>(work: impl Future<Output = Result<Res, Failure>>) -> Outcome {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    match result.unwrap_or_else(|_| Err(Case::Panicked.into())) {
        Ok(answer) => Outcome::Answer(answer.encode_to_vec().into()),
        Err(failure) => Outcome::Failure(failure),
    }
}

/// From a half to one.
fn jitter() -> f64 {
    1.0 - fastrand::f64() / 2.0
}
