//! Records in Redis: for several replicas of the service, and across their restarts.
//!
//! A claim stores a *pending* record with a lease that outlasts the call. If its process dies, the
//! record stays pending, and once the lease is over that means *unknown*: the call may have been
//! sent. So nothing is sent twice while Redis keeps the record, whichever process dies, and when.
//!
//! The trap: a failover forgets writes that its replica did not have. `min_replicas` makes replicas
//! acknowledge a claim before the call is sent (`replicas.rs`).

mod address;
mod authorities;
mod connection;
mod errors;
mod link;
mod replicas;
mod scripts;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use backon::{ExponentialBuilder, Retryable as _};
use futures_util::{FutureExt as _, TryFutureExt as _, future::ready};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult};
use secrecy::SecretString;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

pub use address::{check_url, is_tls, without_credentials};

use self::{
    address::Address,
    authorities::Authorities,
    connection::Source,
    errors::{error_type, is_retryable},
    link::Links,
    replicas::Replicas,
    scripts::Held,
};
use super::{
    key::{Fingerprint, RecordId},
    record::{self, Ended, Found},
    seal::Sealer,
    store::{Claim, Store, StoreError, StoreFuture, Token},
    waiting::Waiting,
};
use crate::{
    call::Call,
    files::Reloaded,
    stytch::{Client, Credentials},
    telemetry::{
        self,
        calls::in_this_call,
        limit::ByCaller,
        metrics::{Metrics, StoreErrorType, StoreKind, StoreOperation},
    },
};

/// How much longer than the upstream timeout a lease is: the time to record the outcome.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// How much of that an outcome may wait for the audit event of its call.
const EVENT_WAIT: Duration = Duration::from_secs(1);
/// The first interval between two looks at a pending record. It doubles up to the longest.
const FIRST_POLL: Duration = Duration::from_millis(5);
const LONGEST_POLL: Duration = Duration::from_millis(200);

/// How to reach Redis, and what it has to guarantee.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// The URL of a server, of Sentinels, or of a cluster. It may contain passwords.
    pub url: SecretString,
    /// How many replicas of Redis must acknowledge a claim before its call is sent.
    pub min_replicas: u8,
    /// A PEM file of authorities to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

/// A key for records, and the secret that it is derived from.
struct Derived {
    sealer: Sealer,
    credentials: Arc<Credentials>,
}

impl Derived {
    fn from(credentials: Arc<Credentials>) -> Self {
        Self { sealer: Sealer::derived(credentials.secret()), credentials }
    }
}

/// Records in Redis. Clones share the connections.
#[derive(Clone)]
pub(super) struct Redis {
    /// Where it is, without credentials.
    url: Arc<str>,
    links: Arc<Links>,
    replicas: Option<Replicas>,
    /// Records are encrypted with a key that is derived from the secret in force.
    credentials: Reloaded<Credentials>,
    derived: Arc<ArcSwap<Derived>>,
    ttl: Duration,
    lease: Duration,
    /// What is retried in the background of calls that were made.
    retries: TaskTracker,
    metrics: Metrics,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("ttl", &self.ttl).field("lease", &self.lease).finish()
    }
}

impl Store for Redis {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }

    fn address(&self) -> &str {
        &self.url
    }

    fn probe(&self) -> StoreFuture<'_, ()> {
        self.log_probe().boxed().right_future()
    }

    fn claim(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
    ) -> StoreFuture<'_, Result<Claim, StoreError>> {
        self.claim_or_wait(id, fingerprint).err_into().boxed().right_future()
    }

    fn record(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
        token: Token,
        ended: &Ended,
        call: &Call,
    ) -> StoreFuture<'_, ()> {
        let sealed = record::seal_ended(ended, &self.key().sealer, id, fingerprint);
        let record = scripts::record(id, token, &sealed, self.ttl);
        // Another replica may answer a caller as soon as it finds the outcome.
        match telemetry::write_all() {
            Ok(()) => self.record_or_retry(record).boxed().right_future(),
            Err(event) => {
                // The caller need not wait for that, but the drain does: it waits for the call.
                let (store, open) = (self.clone(), call.clone());
                tokio::spawn(in_this_call(async move {
                    let _ = timeout(EVENT_WAIT, telemetry::written(event)).await;
                    store.record_or_retry(record).await;
                    drop(open);
                }));
                ready(()).left_future()
            }
        }
    }

    fn release(&self, id: RecordId, token: Token) -> StoreFuture<'_, ()> {
        self.release_or_retry(id, token).boxed().right_future()
    }

    fn settle_by(&self, until: Instant) -> StoreFuture<'_, ()> {
        let settled = async move {
            self.retries.close();
            if timeout_at(until, self.retries.wait()).await.is_err() {
                tracing::error!(
                    keys = self.retries.len(),
                    "the process ends before Redis has these outcomes, which count as unknown, or \
                     will after a failover"
                );
            }
        };
        settled.boxed().right_future()
    }
}

impl Redis {
    /// Prepares connections that are made when they are first used. Needs a runtime.
    pub(super) fn new(
        settings: &RedisSettings,
        ttl: Duration,
        client: &Client,
        metrics: &Metrics,
    ) -> RedisResult<Self> {
        let RedisSettings { url, min_replicas, ca_file } = settings;
        let address = Address::new(url).map_err(|what| (ErrorKind::InvalidClientConfig, what))?;
        let authorities = ca_file.clone().map(|path| {
            let paths = vec![path.clone()];
            Reloaded::from_files(metrics, "redis_ca", paths, move || Authorities::read(&path))
        });
        let authorities = authorities.transpose().map_err(std::io::Error::other)?;
        let source = Source { address, authorities };
        Ok(Self {
            replicas: (*min_replicas > 0).then(|| Replicas::new(&source, *min_replicas)),
            links: Arc::new(Links::new(source)),
            url: without_credentials(url).into(),
            derived: Arc::new(ArcSwap::from_pointee(Derived::from(client.credentials().get()))),
            credentials: client.credentials().clone(),
            ttl,
            lease: client.settings().timeout + LEASE_MARGIN,
            retries: TaskTracker::new(),
            metrics: metrics.clone(),
        })
    }

    /// The key in force. Another Stytch secret makes earlier records unreadable.
    fn key(&self) -> Arc<Derived> {
        let credentials = self.credentials.borrow();
        let known = self.derived.load_full();
        if Arc::ptr_eq(&known.credentials, &credentials) {
            return known;
        }
        let derived = Arc::new(Derived::from(Arc::clone(&credentials)));
        self.derived.store(Arc::clone(&derived));
        derived
    }

    async fn log_probe(&self) {
        let address = &*self.url;
        match self.run_acknowledged(StoreOperation::Probe, &scripts::probe()).await {
            Ok(()) => tracing::info!(address, "idempotency keys are remembered in Redis"),
            Err(error) => tracing::warn!(
                address,
                %error,
                "idempotency store failed: calls with a key are refused until Redis can be used"
            ),
        }
    }

    /// Claims a key. While another process holds it, polls until the call has ended or the lease is
    /// over.
    async fn claim_or_wait(&self, id: RecordId, fingerprint: Fingerprint) -> RedisResult<Claim> {
        let key = self.key();
        let pending = record::seal_pending(&key.sealer, id, fingerprint);
        let (mut poll, mut waiting) = (FIRST_POLL, None);
        loop {
            let Held { sealed, lease } = match self.try_claim(id, &pending).await? {
                Ok(token) => return Ok(Claim::Granted(token)),
                Err(held) => held,
            };
            match (record::open(&sealed, &key.sealer, id, fingerprint), lease) {
                (Found::Pending, Some(lease)) => {
                    waiting.get_or_insert_with(|| Waiting::begin(&self.metrics));
                    sleep(poll.min(lease).mul_f64(spread())).await;
                }
                (found, _) => return Ok(Claim::Found(found)),
            }
            poll = (poll * 2).min(LONGEST_POLL);
        }
    }

    /// Claims a key once. A claim that may have been granted without an acknowledgement is
    /// released.
    async fn try_claim(&self, id: RecordId, pending: &[u8]) -> RedisResult<Result<Token, Held>> {
        let mut token = Token::default();
        aws_lc_rs::rand::fill(&mut token.0).expect("the system has random bytes");
        let claim = scripts::claim(id, token, pending, self.lease, self.ttl);
        // A connection that is dead, or leads to a demoted primary, is noticed by using it. The
        // token makes the retry harmless.
        let run = || self.timed(StoreOperation::Claim, self.claim_once(&claim));
        let claimed = run.retry(once()).when(is_retryable).await;
        if claimed.as_ref().map_or(true, |claimed| claimed.is_disputed) {
            // Perhaps by a server that is no longer the primary. Nobody would use it. Its call was
            // refused, so no drain waits for that.
            tokio::spawn(in_this_call(self.clone().release_in_lease(id, token)));
        }
        let Claimed { held, .. } = claimed?;
        Ok(match held {
            None => Ok(token),
            Some((value, left)) => Err(Held::new(&value, left)),
        })
    }

    /// Runs a claim. Only one that is granted waits for replicas; a record is returned at once.
    async fn claim_once(&self, claim: &Cmd) -> RedisResult<Claimed> {
        let held = self.query(claim).await?;
        let (None, Some(replicas)) = (&held, &self.replicas) else {
            return Ok(Claimed { held, is_disputed: false });
        };
        let held: Option<_> = replicas.run(claim).await?;
        Ok(Claimed { is_disputed: held.is_some(), held })
    }

    /// Records an outcome. Waits for one attempt; if it fails, others follow until the record
    /// would expire. Replicas acknowledge it later.
    async fn record_or_retry(&self, record: Cmd) {
        match self.run(StoreOperation::Record, &record).await {
            Ok(found) => {
                self.check_claim(found);
                if self.replicas.is_some() && found != scripts::ANOTHERS {
                    self.record_later(record);
                }
            }
            Err(error) => {
                static WARNINGS: ByCaller = ByCaller::new();
                if let Some(suppressed) = WARNINGS.pass() {
                    tracing::warn!(%error, suppressed, "an idempotency record is not stored yet");
                }
                self.record_later(record);
            }
        }
    }

    /// Records an outcome in the background.
    fn record_later(&self, record: Cmd) {
        let store = self.clone();
        self.retries.spawn(in_this_call(async move {
            let run = || store.run_acknowledged(StoreOperation::Record, &record);
            match timeout(store.ttl, run.retry(with_backoff())).await {
                Ok(Ok(found)) => store.check_claim(found),
                _ => log_unstored(),
            }
        }));
    }

    /// Reports a claim that Redis has not kept until the call ended.
    fn check_claim(&self, found: u8) {
        let what = match found {
            scripts::OWN => return,
            scripts::ANOTHERS => "another replica has the key",
            _ => "it was forgotten",
        };
        static LIMIT: ByCaller = ByCaller::new();
        self.metrics.idempotency_claims_lost.inc();
        if let Some(suppressed) = LIMIT.pass() {
            tracing::error!(
                suppressed,
                "Redis lost the claim of a call in flight, which may be executed twice: {what}"
            );
        }
    }

    /// Releases a claim. Waits for one attempt, as [`Redis::record_or_retry`] does.
    async fn release_or_retry(&self, id: RecordId, token: Token) {
        let release = scripts::release(id, token, self.lease);
        if self.run::<()>(StoreOperation::Release, &release).await.is_err() {
            let released = self.clone().release_in_lease(id, token);
            self.retries.spawn(in_this_call(async move {
                if !released.await {
                    log_unstored();
                }
            }));
        }
    }

    /// Releases a claim until its lease is over: then it counts as unknown, and stays so. Returns
    /// whether it is released.
    async fn release_in_lease(self, id: RecordId, token: Token) -> bool {
        let release = scripts::release(id, token, self.lease);
        let run = || self.run::<()>(StoreOperation::Release, &release);
        timeout(self.lease, run.retry(with_backoff())).await.is_ok_and(|released| released.is_ok())
    }

    async fn run<T: FromRedisValue>(
        &self,
        operation: StoreOperation,
        command: &Cmd,
    ) -> RedisResult<T> {
        self.timed(operation, self.query(command)).await
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        self.links.link().run(async |connection| command.query_async(connection).await).await
    }

    /// Runs a command and waits for as many replicas as the settings demand.
    async fn run_acknowledged<T: FromRedisValue>(
        &self,
        operation: StoreOperation,
        command: &Cmd,
    ) -> RedisResult<T> {
        match &self.replicas {
            None => self.run(operation, command).await,
            Some(replicas) => self.timed(operation, replicas.run(command)).await,
        }
    }

    /// Records how long a command takes, and how it fails.
    async fn timed<T>(
        &self,
        operation: StoreOperation,
        command: impl Future<Output = RedisResult<T>>,
    ) -> RedisResult<T> {
        let start = Instant::now();
        let result = command.await;
        let error = result.as_ref().err().map_or(StoreErrorType::None, error_type);
        let labels = (StoreKind::Redis, operation, error);
        self.metrics.idempotency_store.get(labels).record(start.elapsed());
        result
    }
}

/// The answer to a claim.
struct Claimed {
    /// The value under the key, and how long the claim it is lasts. `None` if the claim is granted.
    held: Option<(Vec<u8>, i64)>,
    /// Whether one server has granted it, and another one has not.
    is_disputed: bool,
}

fn log_unstored() {
    static LIMIT: ByCaller = ByCaller::new();

    if let Some(suppressed) = LIMIT.pass() {
        tracing::error!(
            suppressed,
            "an idempotency record could not be stored: its outcome counts as unknown, or will \
             after a failover"
        );
    }
}

fn once() -> ExponentialBuilder {
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(10)).with_max_times(1)
}

fn with_backoff() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
}

/// A factor from a half to one, so that replicas do not poll together, nor beyond the lease.
fn spread() -> f64 {
    1.0 - fastrand::f64() / 2.0
}
