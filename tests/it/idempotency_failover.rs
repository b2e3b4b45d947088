//! Redis goes from one server to another: calls with a key find the new one, and none of them is
//! made twice.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::select;
use serde_json::Value;
use tokio::time::timeout;
use tonic::{Code, Response, Status, transport::Channel};
use totp_facade::idempotency::{RedisSettings, StoreSettings};

use crate::support::{
    Closed, Facade, PATIENCE, Setup, info, is_replayed,
    peer::{self, Peer},
    proxy::Proxy,
    redis::{Cluster, Redis, Sentinels},
    rpc::Rpc,
};

type Answer = Result<Response<Value>, Status>;

/// A façade in this process, with its records in the Redis of this URL.
async fn facade(stytch: SocketAddr, url: &str) -> Facade {
    facade_with(stytch, url, 0).await
}

/// The same, which sends nothing before so many replicas of Redis have the claim.
async fn facade_with(stytch: SocketAddr, url: &str, min_replicas: u8) -> Facade {
    let mut setup = Setup::new(stytch).timeout(Duration::from_secs(1));
    let settings = RedisSettings { url: url.into(), min_replicas, ca_file: None };
    setup.idempotency.store = StoreSettings::Redis(settings);
    setup.start().await
}

async fn create(channel: &Channel, key: &str) -> Answer {
    Rpc::CREATE.keyed(channel.clone(), "fresh", key).await
}

async fn stytch() -> Peer {
    Peer::start(|mut connection| async move {
        while connection.request().await {
            connection.send(peer::json(200, Rpc::CREATE.answer)).await;
        }
    })
    .await
}

#[track_caller]
fn is_refused(answer: &Answer) -> bool {
    let Err(status) = answer else { return false };
    let info = info(status);
    assert_eq!(info.reason, "IDEMPOTENCY_STORE_UNAVAILABLE", "{status:?}");
    assert_eq!(info.upstream, "not_sent");
    true
}

/// Calls with this key until it is not refused.
async fn recovers(channel: &Channel, key: &str) {
    let start = Instant::now();
    loop {
        let answer = create(channel, key).await;
        if !is_refused(&answer) {
            assert!(!is_replayed(answer.expect("an answer").metadata()));
            return;
        }
        assert!(start.elapsed() < PATIENCE, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_demoted_primary_is_left_for_the_one_that_has_its_address() {
    let (Some(one), Some(two)) = (Redis::start().await, Redis::start().await) else { return };
    two.follow(&one).await;
    let stytch = stytch().await;
    let service = Proxy::to(one.addr()).await;
    let facade = facade(stytch.addr, &format!("redis://{}", service.addr)).await;
    let channel = facade.channel().await;
    create(&channel, "before").await.expect("an answer");
    let start = Instant::now();
    while two.everything().await != one.everything().await {
        assert!(start.elapsed() < PATIENCE, "it has not the end of the call");
    }

    two.promote().await;
    one.follow(&two).await;
    service.redirect(two.addr());

    // The connection to the demoted one is open, and answers whatever only reads.
    for key in ["after", "and-after"] {
        let answer = create(&channel, key).await.expect("an answer at the first try");
        assert!(!is_replayed(answer.metadata()));
    }
    let again = create(&channel, "before").await.expect("the same");
    assert!(is_replayed(again.metadata()));
    assert_eq!(stytch.pending(), 3);
}

#[tokio::test]
async fn a_record_is_not_read_from_a_demoted_primary() {
    let (Some(one), Some(two)) = (Redis::start().await, Redis::start().await) else { return };
    two.follow(&one).await;
    let stytch = stytch().await;
    let service = Proxy::to(one.addr()).await;
    let facade = facade(stytch.addr, &format!("redis://{}", service.addr)).await;
    let channel = facade.channel().await;
    create(&channel, "key").await.expect("an answer");
    two.promote().await;
    one.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    service.redirect(two.addr());
    // What has become of it since the old one knows nothing of.
    two.ask::<()>(&["FLUSHALL"]).await;

    let answer = create(&channel, "key").await.expect("an answer");

    assert!(!is_replayed(answer.metadata()), "the old one has it, and has no say");
}

#[tokio::test]
async fn a_redis_that_has_lost_its_primary_is_used_again_once_it_takes_writes() {
    let Some(redis) = Redis::start().await else { return };
    let stytch = stytch().await;
    let facade = facade(stytch.addr, &redis.url()).await;
    let channel = facade.channel().await;
    create(&channel, "before").await.expect("an answer");
    for stale in ["no", "yes"] {
        redis.ask::<()>(&["CONFIG", "SET", "replica-serve-stale-data", stale]).await;
        redis.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
        for key in ["before", "new"] {
            assert!(is_refused(&create(&channel, key).await), "{key}");
        }

        redis.promote().await;

        recovers(&channel, stale).await;
    }
    let again = create(&channel, "before").await.expect("the same");
    assert!(is_replayed(again.metadata()));
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_used_again_once_it_has() {
    let flags = |_: &std::path::Path, _: u16| {
        ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"]
            .map(ToOwned::to_owned)
            .to_vec()
    };
    let Some(redis) = Redis::with_flags(flags).await else { return };
    let stytch = stytch().await;
    let facade = facade(stytch.addr, &redis.url()).await;
    let channel = facade.channel().await;
    create(&channel, "before").await.expect("an answer");
    redis.ask::<()>(&["DEBUG", "POPULATE", "3000"]).await;
    redis.ask::<()>(&["CONFIG", "SET", "key-load-delay", "500"]).await;
    let mut operator = redis.connection().await;
    operator.set_response_timeout(PATIENCE);

    let loading = tokio::spawn(async move {
        redis::cmd("DEBUG").arg("RELOAD").query_async::<()>(&mut operator).await.unwrap();
    });
    let start = Instant::now();
    let mut refused = 0;
    while !loading.is_finished() {
        refused += u32::from(is_refused(&create(&channel, &format!("during-{refused}")).await));
        assert!(start.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    assert!(refused > 0, "it was loading");
    recovers(&channel, "after").await;
    let again = create(&channel, "before").await.expect("the same");
    assert!(is_replayed(again.metadata()));
}

#[tokio::test]
async fn the_primary_that_sentinels_name_is_used_and_after_a_failover_the_next() {
    let Some(mut redis) = Sentinels::start().await else { return };
    let stytch = stytch().await;
    let facade = facade(stytch.addr, &redis.url()).await;
    let channel = facade.channel().await;
    create(&channel, "before").await.expect("an answer");
    assert_eq!(redis.servers[0].records().await, 1);

    redis.servers[0].kill();

    recovers(&channel, "after").await;
    let again = create(&channel, "before").await.expect("the same");
    assert!(is_replayed(again.metadata()));
    assert_eq!(stytch.pending(), 2);
}

#[tokio::test]
async fn a_primary_that_hangs_is_left_for_the_one_that_sentinels_name_then() {
    let Some(redis) = Sentinels::start().await else { return };
    let stytch = stytch().await;
    let facade = facade(stytch.addr, &redis.url()).await;
    let channel = facade.channel().await;
    create(&channel, "before").await.expect("an answer");

    // Its connections stay open.
    redis.servers[0].pause();

    recovers(&channel, "after").await;
    let again = create(&channel, "before").await.expect("the same");
    assert!(is_replayed(again.metadata()));
}

#[tokio::test]
async fn a_cluster_is_used_and_a_node_that_fails_is_replaced() {
    let Some(mut redis) = Cluster::start().await else { return };
    let stytch = stytch().await;
    let facade = facade(stytch.addr, &redis.url()).await;
    let channel = facade.channel().await;
    // To all its nodes, most likely.
    let keys = || (0..20).map(|number| format!("before-{number}"));
    for key in keys() {
        create(&channel, &key).await.expect("an answer");
    }
    let primaries = redis.primaries().await;
    assert_eq!(primaries.len(), 3);

    redis.nodes[primaries[0]].kill();

    for key in keys() {
        let start = Instant::now();
        let again = loop {
            let answer = create(&channel, &key).await;
            if !is_refused(&answer) {
                break answer.expect("the same");
            }
            assert!(start.elapsed() < PATIENCE, "it does not recover");
        };
        assert!(is_replayed(again.metadata()), "{key}");
    }
    assert_eq!(stytch.pending(), 20);
}

/// A primary, a replica that follows it until that is stopped, and the address of whoever is the
/// primary.
struct Pair {
    primary: Redis,
    replica: Redis,
    replication: Proxy,
    service: Proxy,
}

impl Pair {
    async fn start() -> Option<Self> {
        let (primary, replica) = (Redis::start().await?, Redis::start().await?);
        let replication = Proxy::to(primary.addr()).await;
        replica.follow_at(replication.addr.port()).await;
        primary.has_replicas(1).await;
        let service = Proxy::to(primary.addr()).await;
        Some(Self { primary, replica, replication, service })
    }

    fn url(&self) -> String {
        format!("redis://{}", self.service.addr)
    }

    /// The replica becomes the primary, without what it had not got.
    async fn fail_over(&mut self) {
        self.replica.promote().await;
        self.service.redirect(self.replica.addr());
        self.primary.kill();
    }
}

/// How many claims Redis has lost, as far as this façade knows.
async fn claims_lost(facade: &Facade) -> u32 {
    let page = reqwest::get(format!("http://{}/metrics", facade.admin)).await.unwrap();
    let page = page.text().await.unwrap();
    let name = "totp_facade_idempotency_claims_lost_total ";
    page.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_failover_that_loses_a_claim_duplicates_its_call_and_is_counted() {
    let Some(mut redis) = Pair::start().await else { return };
    let (mut stytch, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
    let (one, two) =
        (facade(stytch.addr, &redis.url()).await, facade(stytch.addr, &redis.url()).await);
    let (first, second) = (one.channel().await, two.channel().await);
    redis.replication.hold_back();
    let call = tokio::spawn(async move { create(&first, "key").await });
    stytch.request().await;

    redis.fail_over().await;
    let again = tokio::spawn(async move { create(&second, "key").await });

    // What nothing but an acknowledgement by the replica would have prevented.
    stytch.request().await;
    answer.notify_one();
    let (first, other) = select(call, again).await.factor_first();
    first.unwrap().expect("an answer");
    answer.notify_one();
    timeout(PATIENCE, other).await.unwrap().unwrap().expect("an answer");
    let start = Instant::now();
    while claims_lost(&one).await == 0 {
        assert!(start.elapsed() < PATIENCE, "it is not counted");
    }
    assert_eq!(claims_lost(&two).await, 0, "the other has the claim");
}

#[tokio::test]
async fn a_response_whose_claim_was_lost_replaces_a_released_claim() {
    let Some(mut redis) = Pair::start().await else { return };
    let (mut stytch, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
    let closed = Closed::new();
    let one = facade(stytch.addr, &redis.url()).await;
    let two = facade(closed.addr, &redis.url()).await;
    let three = facade(stytch.addr, &redis.url()).await;
    let first = one.channel().await;
    redis.replication.hold_back();
    let call = tokio::spawn(async move { create(&first, "key").await });
    stytch.request().await;
    redis.fail_over().await;
    let status = create(&two.channel().await, "key").await.expect_err("it is closed");
    assert_eq!(info(&status).upstream, "not_sent");
    let values = redis.replica.everything().await;
    assert!(values.iter().any(|value| value.len() == 16), "the second claim is given back");

    answer.notify_one();
    let first = call.await.unwrap().expect("an answer");

    let again = create(&three.channel().await, "key").await.expect("the same");
    assert!(is_replayed(again.metadata()));
    assert_eq!(again.into_inner(), first.into_inner());
    assert_eq!(stytch.pending(), 0, "nothing is sent again");
    assert_eq!(claims_lost(&one).await, 1);
}

#[tokio::test]
async fn an_unacknowledged_claim_is_released_and_its_call_is_not_sent() {
    let Some(mut redis) = Pair::start().await else { return };
    let stytch = stytch().await;
    let one = facade_with(stytch.addr, &redis.url(), 1).await;
    let two = facade_with(stytch.addr, &redis.url(), 1).await;
    create(&one.channel().await, "before").await.expect("an answer, for the replica has the claim");
    redis.replication.hold_back();

    let start = Instant::now();
    assert!(is_refused(&create(&one.channel().await, "key").await));

    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(stytch.pending(), 1, "nothing was sent");
    // A finished call is replayed without waiting for an acknowledgement.
    let start = Instant::now();
    let again = create(&two.channel().await, "before").await.expect("the same");
    assert!(is_replayed(again.metadata()));
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    // And the key is free: the other façade claims it, too, and does not wait for anybody's lease.
    let start = Instant::now();
    assert!(is_refused(&create(&two.channel().await, "key").await));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    redis.fail_over().await;
    let third = Redis::start().await.unwrap();
    third.follow(&redis.replica).await;

    recovers(&two.channel().await, "key").await;
    let again = create(&one.channel().await, "key").await.expect("the same");
    assert!(is_replayed(again.metadata()));
}

#[tokio::test]
async fn while_replicas_do_not_acknowledge_no_key_is_left_behind() {
    let Some(redis) = Pair::start().await else { return };
    let stytch = stytch().await;
    let facade = facade_with(stytch.addr, &redis.url(), 2).await;
    let channel = facade.channel().await;

    // Far more than may wait at a time.
    let calls = (0..60).map(|number| {
        let channel = channel.clone();
        async move { create(&channel, &format!("key-{number}")).await }
    });
    for answer in futures_util::future::join_all(calls).await {
        assert!(is_refused(&answer), "there is one replica");
    }

    assert_eq!(stytch.pending(), 0);
    let third = Redis::start().await.unwrap();
    third.follow(&redis.primary).await;
    redis.primary.has_replicas(2).await;
    for number in 0..60 {
        recovers(&channel, &format!("key-{number}")).await;
    }
    assert_eq!(stytch.pending(), 60);
}

/// Calls with keys over two façades, each retried until its end, while Redis fails over.
/// Afterwards calls succeed again, and Stytch has seen no key twice.
async fn under_load(url: &str, fails_over: impl AsyncFnOnce()) {
    let mut stytch = stytch().await;
    let facades = [facade_with(stytch.addr, url, 1).await, facade_with(stytch.addr, url, 1).await];
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for worker in 0..8 {
        let channels = [facades[0].channel().await, facades[1].channel().await];
        let (stop, ended) = (Arc::clone(&stop), Arc::clone(&ended));
        let refused = Arc::clone(&refused);
        workers.push(tokio::spawn(async move {
            let mut keys = 0;
            let mut tries = 0;
            while !stop.load(Ordering::SeqCst) {
                let key = format!("member-{worker}-{keys}");
                tries += 1;
                match Rpc::CREATE.keyed(channels[tries % 2].clone(), &key, &key).await {
                    Ok(_) => {
                        keys += 1;
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                    // The claim may have been granted by a server that could not say so any more.
                    Err(status) if status.code() == Code::Unknown => keys += 1,
                    refusal => {
                        assert!(is_refused(&refusal));
                        refused.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        }));
    }
    let more = async |count| {
        let (start, enough) = (Instant::now(), ended.load(Ordering::SeqCst) + count);
        while ended.load(Ordering::SeqCst) < enough {
            assert!(start.elapsed() < PATIENCE, "calls do not succeed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    more(100).await;

    fails_over().await;

    more(200).await;
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        timeout(PATIENCE, worker).await.unwrap().unwrap();
    }
    assert!(refused.load(Ordering::SeqCst) > 0, "it was noticed");
    let mut executions = HashMap::<String, u32>::new();
    for _ in 0..stytch.pending() {
        let member = stytch.request().await.json()["member_id"].as_str().unwrap().to_owned();
        *executions.entry(member).or_default() += 1;
    }
    let twice: Vec<_> = executions.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_failover_under_load_duplicates_no_call() {
    let Some(mut redis) = Sentinels::start().await else { return };
    let url = redis.url();
    under_load(&url, async || redis.servers[0].kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_failover_under_load_duplicates_no_call() {
    let Some(redis) = Cluster::start().await else { return };
    under_load(&redis.url(), async || {
        let old = redis.primaries().await[0];
        // It hangs, is replaced, and comes back as the replica that its successor needs.
        redis.nodes[old].pause();
        let others = || redis.nodes.iter().enumerate().filter(|(number, _)| *number != old);
        let start = Instant::now();
        loop {
            let mut primaries = 0;
            for (_, node) in others() {
                primaries += usize::from(node.is_primary().await);
            }
            if primaries == 3 {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "it is not replaced");
        }
        redis.nodes[old].resume();
    })
    .await;
}
