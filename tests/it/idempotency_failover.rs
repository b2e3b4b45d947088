//! Redis goes from one server to another: calls with a key find the new one, and none of them is made twice.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::Value;
use tonic::{Response, Status, transport::Channel};
use totp_facade::idempotency::StoreSettings;

use crate::support::{
    Facade, PATIENCE, Setup, info, is_replayed,
    peer::{self, Peer},
    proxy::Proxy,
    redis::{Cluster, Redis, Sentinels},
    rpc::Rpc,
};

type Answer = Result<Response<Value>, Status>;

/// A façade in this process, with its records in the Redis of this URL.
async fn facade(stytch: SocketAddr, url: &str) -> Facade {
    let mut setup = Setup::new(stytch);
    setup.idempotency.store = StoreSettings::Redis { url: url.into() };
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

/// Calls with keys that begin with this until one succeeds.
async fn recovers(channel: &Channel, key: &str) {
    let start = Instant::now();
    for number in 0.. {
        if !is_refused(&create(channel, &format!("{key}-{number}")).await) {
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
