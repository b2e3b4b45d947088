//! A response of Stytch, of arbitrary bytes, to a call with an idempotency key: a retry with the
//! key gets the same response as the first call.
#![no_main]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tonic::metadata::MetadataMap;
use totp_facade::{
    access::Caller,
    call::InFlight,
    idempotency::{Fingerprint, Idempotency, Key, Origin, Settings, StoreSettings},
    proto::{
        metadata::IDEMPOTENCY_KEY,
        stytch::b2b::{
            recovery_codes::v1 as codes,
            totp::v1::{self as totp, CreateRequest},
        },
    },
    status::Failure,
    stytch::{self, Client},
    telemetry::{metrics::Metrics, trace::Tracer},
    translate::{Encoded, FromJson, translate},
};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());

/// The in-memory store of a single replica.
static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);

static IDEMPOTENCY: LazyLock<Idempotency> = LazyLock::new(|| {
    let stytch = stytch::Settings {
        base_url: "http://127.0.0.1:9".parse().unwrap(),
        project_id: "project-test-fuzz".to_owned(),
        secret: "secret".into(),
        secret_file: None,
        ca_file: None,
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        max_connection_age: Duration::ZERO,
    };
    let settings = Settings {
        ttl: Duration::from_secs(60),
        store: StoreSettings::Memory { max_bytes: 64 * 1024 * 1024 },
    };
    let client = Client::new(&stytch, &METRICS).unwrap();
    Idempotency::new(&settings, &client, &METRICS).unwrap()
});

static KEYS: AtomicU64 = AtomicU64::new(0);

/// Makes one call with this key, which returns `answer` unless it is replayed.
fn call(key: &Key, answer: Bytes) -> (Bytes, Origin) {
    let caller = Arc::new(Caller::unbounded("anonymous"));
    let trace = Tracer::default().call("fuzz", &http::HeaderMap::new());
    let call = InFlight::new(8, METRICS.clone())
        .admit("fuzz", caller, None, None, trace)
        .expect("room for a call");
    let fingerprint = Fingerprint::of(&CreateRequest::default());
    let work = async move |_| Ok::<_, Failure>(Encoded::new(&answer));
    let (result, origin) = RUNTIME.block_on(IDEMPOTENCY.run(key, fingerprint, &call, work));
    (result.expect("an answer").into_bytes(), origin)
}

fn read<Res: FromJson>(body: &[u8]) {
    let Ok(answer) = translate::<Res>(body, |_| ()) else { return };
    let answer = answer.into_bytes();
    let mut metadata = MetadataMap::new();
    metadata.insert(IDEMPOTENCY_KEY, KEYS.fetch_add(1, Ordering::Relaxed).into());
    let key = Key::of(&metadata).expect("well-formed").expect("there");
    let (first, fresh) = call(&key, answer.clone());
    let (again, replayed) = call(&key, Bytes::new());
    assert_eq!((fresh, replayed), (Origin::Fresh, Origin::Replayed));
    assert!(
        first == answer && again == answer,
        "the replayed response differs from the stored one"
    );
}

fuzz_target!(|body: &[u8]| {
    read::<totp::CreateResponse>(body);
    read::<totp::AuthenticateResponse>(body);
    read::<codes::RecoverResponse>(body);
});
