//! Clients that retry keyed calls over faulty networks: no key is executed twice, and each client
//! ends with the response to the only execution or with a definite status.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::support::{
    Facade, PATIENCE, Setup, is_replayed,
    peer::{self, Peer},
    proxy::Proxy,
    pushback,
    redis::{self, Redis},
    report,
    rpc::Rpc,
};

const SEED: u64 = 20_260_101;
const WORKERS: usize = 32;

/// The secrets that were minted for each key, one for each execution.
type Executions = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// A stand-in for Stytch that only knows Create and takes the member's id for the key of the call.
async fn stytch() -> (SocketAddr, Executions) {
    let executions = Executions::default();
    let record = Arc::clone(&executions);
    let minted = Arc::new(AtomicUsize::new(0));
    let peer = Peer::start(move |mut connection| {
        let (record, minted) = (Arc::clone(&record), Arc::clone(&minted));
        async move {
            while let Some(request) = connection.next().await {
                let key = request.json()["member_id"].as_str().unwrap().to_owned();
                let secret = format!("SECRET{}", minted.fetch_add(1, Ordering::SeqCst));
                record.lock().unwrap().entry(key).or_default().push(secret.clone());
                let answer = serde_json::json!({"secret": secret}).to_string();
                connection.send(peer::json(200, &answer)).await;
            }
        }
    })
    .await;
    (peer.addr, executions)
}

/// The final outcome for a client.
#[derive(Debug)]
enum Outcome {
    Answer { secret: String },
    Definite(Status),
}

#[derive(Default)]
struct Counts {
    attempts: AtomicUsize,
    broken: AtomicUsize,
    replayed: AtomicUsize,
}

/// Retries a call, each time at the next replica, until its outcome is definite.
async fn retry(replicas: &[Channel], key: &str, counts: &Counts) -> Outcome {
    let start = Instant::now();
    for replica in replicas.iter().cycle() {
        assert!(start.elapsed() < PATIENCE * 2, "{key} does not end");
        counts.attempts.fetch_add(1, Ordering::Relaxed);
        let mut request = Rpc::CREATE.keyed_request(key, key);
        request.set_timeout(Duration::from_secs(5));
        let status = match (Rpc::CREATE.call)(replica.clone(), request).await {
            Ok(answer) => {
                let replayed = is_replayed(answer.metadata());
                counts.replayed.fetch_add(usize::from(replayed), Ordering::Relaxed);
                let secret = answer.get_ref()["secret"].as_str().unwrap().to_owned();
                return Outcome::Answer { secret };
            }
            Err(status) => status,
        };
        // A status without details is the client library's own: the connection broke.
        let wait = match status.get_details_error_info() {
            None => {
                counts.broken.fetch_add(1, Ordering::Relaxed);
                Duration::ZERO
            }
            Some(_) => match (status.code(), pushback(&status)) {
                (Code::DeadlineExceeded, _) => Duration::ZERO,
                (Code::Unavailable | Code::ResourceExhausted, Some(wait)) => {
                    Duration::from_millis(wait.parse().unwrap())
                }
                _ => return Outcome::Definite(status),
            },
        };
        sleep(wait).await;
    }
    unreachable!("it cycles forever")
}

/// Makes `calls` calls, each with its own key, through proxies in front of the façades.
async fn run(name: &str, calls: usize, facades: &[&Facade], upstream: &Proxy, stytch: &Executions) {
    let start = Instant::now();
    let mut downstream = Vec::new();
    for (number, facade) in facades.iter().enumerate() {
        let seed = SEED + number as u64;
        downstream.push(Proxy::faulty(facade.addr, seed, 0.9, 4_000).await);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let counts = Arc::new(Counts::default());
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let mut addrs: Vec<_> = downstream.iter().map(|proxy| proxy.addr).collect();
            addrs.rotate_left(worker % downstream.len());
            let (next, counts) = (Arc::clone(&next), Arc::clone(&counts));
            tokio::spawn(async move {
                let replicas: Vec<_> = addrs
                    .iter()
                    .map(|addr| Channel::from_shared(format!("http://{addr}")).unwrap())
                    .map(|endpoint| endpoint.connect_lazy())
                    .collect();
                let mut outcomes = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return outcomes;
                    }
                    let key = format!("call-{number}");
                    outcomes.push((key.clone(), retry(&replicas, &key, &counts).await));
                }
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for worker in workers {
        outcomes.extend(worker.await.unwrap());
    }

    let stytch = stytch.lock().unwrap();
    let (mut answers, mut unknown, mut unknown_but_done) = (0, 0, 0);
    for (key, outcome) in &outcomes {
        let executed = stytch.get(key).map_or(&[][..], Vec::as_slice);
        assert!(executed.len() <= 1, "{key} was executed {} times", executed.len());
        match outcome {
            Outcome::Answer { secret } => {
                answers += 1;
                assert_eq!(executed, std::slice::from_ref(secret), "{key}");
            }
            Outcome::Definite(status) => {
                assert!(
                    matches!(status.code(), Code::Unknown | Code::Internal),
                    "{key}: {status:?}"
                );
                unknown += 1;
                unknown_but_done += executed.len();
            }
        }
    }
    assert_eq!(outcomes.len(), calls);
    let executions = stytch.values().map(Vec::len).sum::<usize>();
    assert_eq!(executions, answers + unknown_but_done, "no execution is unaccounted for");
    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let breaks = downstream.iter().map(Proxy::faults).sum::<usize>();
    report(&format!(
        "{name}: {calls} keys, seed {SEED}, in {:.1?}: {} attempts, {} of them broken; {breaks} connections of \
         clients and {} to Stytch ended; {executions} executions, at most 1 a key; {answers} answers, {} of them \
         replayed; {unknown} unknown, {unknown_but_done} of them executed",
        start.elapsed(),
        of(&counts.attempts),
        of(&counts.broken),
        upstream.faults(),
        of(&counts.replayed),
    ));
    assert!(breaks > 0 && of(&counts.broken) > 0, "clients' connections broke");
    assert!(of(&counts.replayed) > 0 && unknown > 0, "and so did those to Stytch");
    assert!(answers > calls * 9 / 10, "most calls succeed");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_over_breaking_networks_are_each_executed_at_most_once() {
    let (addr, executions) = stytch().await;
    let upstream = Proxy::faulty(addr, SEED, 0.9, 15_000).await;
    let facade = Facade::in_front_of(upstream.addr).await;

    run("memory", 10_000, &[&facade], &upstream, &executions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_replicas_and_a_breaking_way_to_redis_calls_are_executed_at_most_once() {
    let Some(redis) = Redis::start().await else { return };
    let (addr, executions) = stytch().await;
    let upstream = Proxy::faulty(addr, SEED, 0.9, 15_000).await;
    let mut facades = Vec::new();
    for seed in [SEED, SEED + 1] {
        let way = Proxy::faulty(([127, 0, 0, 1], redis.port).into(), seed, 0.9, 40_000).await;
        let mut setup = Setup::new(upstream.addr).timeout(Duration::from_secs(2));
        setup.idempotency.store = redis::store(&format!("redis://{}", way.addr));
        facades.push((setup.start().await, way));
    }
    let both: Vec<_> = facades.iter().map(|(facade, _)| facade).collect();

    run("redis", 2_000, &both, &upstream, &executions).await;

    assert!(facades.iter().any(|(_, way)| way.faults() > 0), "the way to Redis broke");
}
