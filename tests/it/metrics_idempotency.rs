//! The metrics about idempotency keys and their stores.

use totp_facade::idempotency::StoreSettings;

use crate::support::{
    Closed, Facade, Setup, info,
    peer::{Peer, json},
    redis::{Redis, store},
    rpc::Rpc,
};

const WAITERS: &str = "totp_facade_idempotency_waiters";
const RECORDS: &str = "totp_facade_idempotency_records";
const BYTES: &str = "totp_facade_idempotency_record_bytes";

fn calls(outcome: &str) -> String {
    format!("totp_facade_idempotency_calls_total{{outcome=\"{outcome}\"}}")
}

/// The number of operations of a store that ended so.
fn operations(store: &str, operation: &str, error_type: &str) -> String {
    format!(
        "totp_facade_idempotency_store_duration_seconds_count{{store=\"{store}\",\
         operation=\"{operation}\",error_type=\"{error_type}\"}}"
    )
}

/// The samples of [`calls`] that are not 0.
async fn outcomes(facade: &Facade) -> Vec<(&'static str, f64)> {
    let page = facade.scrape().await;
    ["executed", "replayed", "waited", "lost", "key_reused", "store_failed"]
        .map(|outcome| (outcome, page.value(&calls(outcome)).unwrap()))
        .into_iter()
        .filter(|(_, count)| *count > 0.0)
        .collect()
}

#[tokio::test]
async fn calls_with_a_key_are_counted_by_what_became_of_them() {
    let (mut peer, answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;
    let call = || tokio::spawn(Rpc::CREATE.keyed(channel.clone(), "fresh", "key"));
    assert_eq!(outcomes(&facade).await, []);
    facade.becomes(RECORDS, 0.0).await;

    let first = call();
    peer.request().await;
    let others = [call(), call()];
    facade.becomes(WAITERS, 2.0).await;
    let other = Rpc::CREATE.keyed(channel.clone(), "enrolled", "key").await.expect_err("reused");
    assert_eq!(info(&other).reason, "IDEMPOTENCY_KEY_REUSED");
    answer.notify_one();
    for call in others.into_iter().chain([first]) {
        call.await.unwrap().expect("an answer");
    }
    assert_eq!(outcomes(&facade).await, [("executed", 1.0), ("waited", 2.0), ("key_reused", 1.0)]);

    call().await.unwrap().expect("the same answer");

    let expected = [("executed", 1.0), ("replayed", 1.0), ("waited", 2.0), ("key_reused", 1.0)];
    assert_eq!(outcomes(&facade).await, expected);
    facade.becomes(WAITERS, 0.0).await;
    facade.becomes(RECORDS, 1.0).await;
    let page = facade.scrape().await;
    assert!(page.value(BYTES).unwrap() >= 1024.0, "{page:?}");
    assert_eq!(page.value(&operations("memory", "claim", "")), Some(2.0));
    assert_eq!(page.value(&operations("memory", "record", "")), Some(1.0));
    assert_eq!(page.samples("totp_facade_idempotency_store_duration_seconds_count").len(), 2);
}

#[tokio::test]
async fn a_call_whose_caller_has_gone_counts_as_executed() {
    let (mut peer, answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let call = tokio::spawn(Rpc::CREATE.keyed(facade.channel().await, "fresh", "key"));
    peer.request().await;

    call.abort();
    answer.notify_one();

    facade.becomes(&calls("executed"), 1.0).await;
}

/// A façade whose records are in Redis.
async fn with_redis(setup: Setup, url: &str) -> Facade {
    let mut setup = setup;
    setup.idempotency.store = store(url);
    setup.start().await
}

#[tokio::test]
async fn the_operations_of_redis_are_counted_and_an_outcome_that_is_lost() {
    let Some(redis) = Redis::start().await else { return };
    let peer = Peer::answering(json(200, Rpc::CREATE.answer)).await;
    let facade = with_redis(Setup::new(peer.addr), &redis.url()).await;
    facade.becomes(&operations("redis", "probe", ""), 1.0).await;
    let call = async |facade: &Facade| {
        Rpc::CREATE.keyed(facade.channel().await, "fresh", "key").await.map(drop)
    };

    call(&facade).await.expect("an answer");
    call(&facade).await.expect("the same answer");

    assert_eq!(outcomes(&facade).await, [("executed", 1.0), ("replayed", 1.0)]);
    facade.becomes(&operations("redis", "claim", ""), 2.0).await;
    facade.becomes(&operations("redis", "record", ""), 1.0).await;
    let page = facade.scrape().await;
    assert_eq!((page.value(RECORDS), page.value(BYTES)), (None, None), "Redis has them");
    // Another secret makes the record unreadable.
    let mut rotated = Setup::new(peer.addr);
    rotated.stytch.secret = "another".into();
    let rotated = with_redis(rotated, &redis.url()).await;
    call(&rotated).await.expect_err("the outcome is lost");
    assert_eq!(outcomes(&rotated).await, [("lost", 1.0)]);
}

#[tokio::test]
async fn a_claim_is_released_and_counted_when_nothing_was_sent() {
    let Some(redis) = Redis::start().await else { return };
    let closed = Closed::new();
    let facade = with_redis(Setup::new(closed.addr), &redis.url()).await;

    Rpc::CREATE.keyed(facade.channel().await, "fresh", "key").await.expect_err("nobody is there");

    facade.becomes(&operations("redis", "release", ""), 1.0).await;
}

#[tokio::test]
async fn the_ways_in_which_redis_fails_are_told_apart() {
    let peer = Peer::answering(json(200, Rpc::CREATE.answer)).await;
    let closed = Closed::new();
    let nobody = format!("redis://{}", closed.addr);
    let (silent, _) = Peer::patient("").await;
    let silent = format!("redis://{}", silent.addr);
    let full = Redis::with_flags(|_, _| vec!["--maxmemory".to_owned(), "1".to_owned()]).await;
    let cases = [(nobody, "connection"), (silent, "timeout")].into_iter();
    for (url, error_type) in cases.chain(full.iter().map(|redis| (redis.url(), "refused"))) {
        let facade = with_redis(Setup::new(peer.addr), &url).await;

        let call = Rpc::CREATE.keyed(facade.channel().await, "fresh", "key").await;

        let status = call.expect_err("there is no store");
        assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE", "{url}");
        assert_eq!(outcomes(&facade).await, [("store_failed", 1.0)], "{url}");
        let page = facade.scrape().await;
        let failures = page.value(&operations("redis", "claim", error_type));
        assert!(failures >= Some(1.0), "{error_type} in {page:?}");
    }
}

#[tokio::test]
async fn replicas_that_do_not_acknowledge_are_told_apart() {
    let Some(redis) = Redis::start().await else { return };
    let peer = Peer::answering(json(200, Rpc::CREATE.answer)).await;
    let mut setup = Setup::new(peer.addr);
    let StoreSettings::Redis(mut settings) = store(&redis.url()) else { unreachable!() };
    settings.min_replicas = 1;
    setup.idempotency.store = StoreSettings::Redis(settings);
    let facade = setup.start().await;

    Rpc::CREATE.keyed(facade.channel().await, "fresh", "key").await.expect_err("no replica");

    facade.becomes(&operations("redis", "claim", "replicas"), 1.0).await;
    let page = facade.scrape().await;
    assert_eq!(page.value(&operations("redis", "claim", "")), None, "the claim counts once");
}
