//! Which calls the façade itself retries, and when it stops.

use std::time::{Duration, Instant};

use serde_json::json;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use totp_facade::stytch::{OPEN_FOR, RETRIES};

use crate::support::{
    Closed, Facade, PATIENCE, info,
    peer::{self, Peer, answer},
    pushback,
    rpc::Rpc,
};

/// A rate limit with a wait of one second, and then a success.
async fn limited_once(rpc: Rpc) -> Peer {
    let error = json!({"error_type": "too_many_requests", "error_message": "slow down"});
    let limit = answer(429, "retry-after: 1\r\n", &error.to_string());
    Peer::start(move |mut connection| {
        let limit = limit.clone();
        async move {
            let mut answers = [limit, peer::json(200, rpc.answer)].into_iter();
            while connection.request().await {
                connection.send(answers.next().expect("two requests at most")).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_read_waits_as_long_as_stytch_asks_and_a_call_that_changes_something_leaves_it_to_the_caller()
 {
    for rpc in [Rpc::GET, Rpc::CREATE] {
        let peer = limited_once(rpc).await;
        let facade = Facade::in_front_of(peer.addr).await;
        let start = Instant::now();

        let result = rpc.try_for(facade.channel().await, "fresh").await;

        if rpc.reads {
            result.expect("the second attempt");
            assert!(start.elapsed() >= Duration::from_secs(1), "after {:?}", start.elapsed());
        } else {
            let status = result.expect_err("the limit");
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(start.elapsed() < Duration::from_secs(1), "after {:?}", start.elapsed());
        }
        assert_eq!(peer.pending(), if rpc.reads { 2 } else { 1 }, "{}", rpc.name);
    }
}

#[tokio::test]
async fn a_wait_that_does_not_fit_the_deadline_is_left_to_the_caller() {
    let peer = limited_once(Rpc::GET).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut request = Request::new((Rpc::GET.request)("fresh"));
    request.set_timeout(Duration::from_millis(900));
    let start = Instant::now();

    let status = (Rpc::GET.call)(facade.channel().await, request).await.expect_err("the limit");

    assert!(start.elapsed() < Duration::from_millis(500), "after {:?}", start.elapsed());
    assert_eq!(status.code(), Code::ResourceExhausted, "and not DEADLINE_EXCEEDED");
    let wait: u64 = pushback(&status).expect("a pushback").parse().unwrap();
    assert!((1000..=1200).contains(&wait), "{wait} ms");
}

/// A façade in front of a closed port, and the port.
async fn dead() -> (Facade, Closed) {
    let closed = Closed::new();
    (Facade::in_front_of(closed.addr).await, closed)
}

async fn metric(facade: &Facade, name: &str) -> u64 {
    let page = reqwest::get(format!("http://{}/metrics", facade.admin)).await.unwrap();
    assert!(
        page.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4")
    );
    let page = page.text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("totp_facade_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

#[tokio::test]
async fn the_breaker_refuses_at_once_and_one_probe_closes_it() {
    let (facade, closed) = dead().await;
    let channel = facade.channel().await;
    let calls = 10_usize.div_ceil(1 + RETRIES);
    for _ in 0..calls {
        let status = Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect_err("it is dead");
        assert_eq!(status.code(), Code::Unavailable);
    }
    let opened = Instant::now();

    for rpc in Rpc::ALL {
        let start = Instant::now();
        let status = rpc.try_for(channel.clone(), "fresh").await.expect_err("it is open");

        assert!(start.elapsed() < Duration::from_millis(200), "took {:?}", start.elapsed());
        assert_eq!(status.code(), Code::Unavailable, "{}", rpc.name);
        assert_eq!(info(&status).reason, "CIRCUIT_OPEN", "{}", rpc.name);
        assert_eq!(info(&status).upstream, "not_sent", "{}", rpc.name);
        let wait = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
        assert!(wait <= OPEN_FOR * 6 / 5, "{wait:?}");
        assert_eq!(pushback(&status), Some(wait.as_millis().to_string().as_str()));
    }
    assert_eq!(metric(&facade, "upstream_breaker_open").await, 1);
    assert_eq!(metric(&facade, "upstream_breaker_openings_total").await, 1);
    assert!(metric(&facade, "upstream_breaker_refusals_total").await >= 7);
    assert!(metric(&facade, "upstream_retries_total").await >= 6);
    let ready = reqwest::get(format!("http://{}/readyz", facade.admin)).await.unwrap();
    assert!(ready.status().is_success(), "no replica would be better off");

    // Stytch is back, and the first call after the wait succeeds.
    let mut peer = Peer::on(closed.open(), |mut connection| async move {
        while connection.request().await {
            connection.send(peer::json(200, Rpc::CREATE.answer)).await;
        }
    });
    while Rpc::CREATE.try_for(channel.clone(), "fresh").await.is_err() {
        assert!(opened.elapsed() < PATIENCE, "it stays open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(opened.elapsed() >= OPEN_FOR - Duration::from_millis(100), "{:?}", opened.elapsed());
    assert!(opened.elapsed() < OPEN_FOR * 2, "one probe was enough");
    peer.request().await;
    assert_eq!(peer.pending(), 0, "only the probe was sent before");
    for _ in 0..100 {
        Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("it is closed");
    }
    assert_eq!(metric(&facade, "upstream_breaker_open").await, 0);
}

#[tokio::test]
async fn refusals_by_stytch_leave_the_breaker_closed() {
    let error = json!({"error_type": "member_not_found", "error_message": ""}).to_string();
    let peer = Peer::answering(peer::json(404, &error)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;

    for _ in 0..100 {
        let status = Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect_err("a refusal");
        assert_eq!(status.code(), Code::NotFound);
    }

    assert_eq!(peer.pending(), 100);
}
