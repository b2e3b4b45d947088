//! The metrics about requests and connections to Stytch.

use std::{net::SocketAddr, time::Duration};

use tonic::Request;

use crate::support::{
    Closed, Facade, Setup,
    http2::Http2Peer,
    peer::{self, Peer, answer, json},
    rpc::Rpc,
};

const OPENED: &str = "totp_facade_upstream_connections_opened_total";
const REUSED: &str = "totp_facade_upstream_connections_reused_total";
#[cfg(target_os = "linux")]
const OPEN: &str = "totp_facade_upstream_connections_open";

/// The number of requests to `server` that ended so.
fn ended(server: SocketAddr, rpc: Rpc, status: &str, error_type: &str) -> String {
    let (method, _) = rpc.line.split_once(' ').unwrap();
    let template = match rpc.name {
        name if name == Rpc::GET.name => {
            "/v1/b2b/recovery_codes/{organization_id}/{member_id}".to_owned()
        }
        name if name == Rpc::DELETE.name => {
            "/v1/b2b/organizations/{organization_id}/members/{member_id}/totp".to_owned()
        }
        _ => rpc.line.split_once(' ').unwrap().1.to_owned(),
    };
    format!(
        "http_client_request_duration_seconds_count{{http_request_method=\"{method}\",\
         server_address=\"127.0.0.1\",server_port=\"{port}\",url_template=\"{template}\",\
         http_response_status_code=\"{status}\",error_type=\"{error_type}\"}}",
        port = server.port()
    )
}

fn errors(error_type: &str) -> String {
    format!("totp_facade_upstream_errors_total{{error_type=\"{error_type}\"}}")
}

/// What the peer does with a request.
enum Then {
    Answer(String),
    Reset,
    Hold,
}

#[tokio::test]
async fn each_request_to_stytch_is_counted_by_its_endpoint_and_how_it_ended() {
    let refused = |error_type: &str| format!(r#"{{"error_type":"{error_type}"}}"#);
    let success = |rpc: Rpc| Then::Answer(json(200, rpc.answer));
    let failed = |status, error_type| Then::Answer(json(status, &refused(error_type)));
    // The RPC, what the peer does, the labels, and the counter of Stytch's error types.
    for (rpc, then, status, error_type, counted) in [
        (Rpc::CREATE, success(Rpc::CREATE), "200", "", None),
        (Rpc::GET, success(Rpc::GET), "200", "", None),
        (Rpc::DELETE, success(Rpc::DELETE), "200", "", None),
        (Rpc::ROTATE, success(Rpc::ROTATE), "200", "", None),
        (Rpc::CREATE, failed(400, "active_totp_exists"), "400", "400", Some("active_totp_exists")),
        (Rpc::CREATE, failed(404, "member_not_found"), "404", "404", Some("member_not_found")),
        (Rpc::CREATE, failed(500, "internal_server_error"), "500", "500", {
            Some("internal_server_error")
        }),
        (Rpc::CREATE, failed(400, "made_up"), "400", "400", Some("other")),
        (Rpc::CREATE, failed(418, "made_up"), "_OTHER", "_OTHER", Some("other")),
        (Rpc::CREATE, Then::Answer(answer(502, "", "<html>")), "502", "502", None),
        (Rpc::CREATE, Then::Answer(answer(302, "", "")), "302", "unexpected_status", None),
        (Rpc::CREATE, Then::Answer(json(200, "{")), "200", "unreadable", None),
        (Rpc::CREATE, Then::Reset, "", "disconnected", None),
        (Rpc::CREATE, Then::Hold, "", "timeout", None),
    ] {
        let then = std::sync::Arc::new(then);
        let peer = Peer::start(move |mut connection| {
            let then = std::sync::Arc::clone(&then);
            async move {
                while connection.request().await {
                    match &*then {
                        Then::Answer(answer) => connection.send(answer).await,
                        Then::Reset => return connection.reset(),
                        Then::Hold => return connection.hold().await,
                    }
                }
            }
        })
        .await;
        let facade = Setup::new(peer.addr).timeout(Duration::from_millis(300)).start().await;

        let _ = rpc.try_for(facade.channel().await, "fresh").await;

        let sample = ended(peer.addr, rpc, status, error_type);
        facade.becomes(&sample, 1.0).await;
        let page = facade.scrape().await;
        let all = page.samples("http_client_request_duration_seconds_count");
        assert_eq!(all, [sample], "nothing else ended");
        let other = errors("other");
        match counted {
            Some(error_type) => assert_eq!(page.value(&errors(error_type)), Some(1.0)),
            None => {
                let shown = page.samples("totp_facade_upstream_errors_total");
                assert_eq!((shown, page.value(&other)), (vec![other.as_str()], Some(0.0)));
            }
        }
    }
}

#[tokio::test]
async fn retries_are_counted_as_requests_and_take_from_the_budget() {
    const LEFT: &str = "totp_facade_upstream_retry_budget_left";
    let closed = Closed::new();
    let facade = Facade::in_front_of(closed.addr).await;
    facade.becomes(LEFT, 100.0).await;

    Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect_err("nobody is there");

    facade.becomes(&ended(closed.addr, Rpc::CREATE, "", "unreachable"), 3.0).await;
    facade.becomes(LEFT, 98.0).await;
    facade.becomes(OPENED, 0.0).await;
    facade.becomes(REUSED, 0.0).await;
}

#[tokio::test]
async fn a_request_whose_caller_has_gone_is_counted_as_cancelled() {
    let (mut peer, _answer) = Peer::patient(json(200, Rpc::GET.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut request = Request::new((Rpc::GET.request)("fresh"));
    request.set_timeout(Duration::from_millis(200));

    (Rpc::GET.call)(facade.channel().await, request).await.expect_err("the deadline");

    peer.request().await;
    facade.becomes(&ended(peer.addr, Rpc::GET, "", "cancelled"), 1.0).await;
}

#[tokio::test]
async fn connections_to_stytch_are_counted_when_they_are_opened_and_used_again() {
    let (mut peer, answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let channel = facade.channel().await;
    let call = || {
        let channel = channel.clone();
        tokio::spawn(async move { Rpc::CREATE.try_for(channel, "fresh").await })
    };

    let together = [call(), call()];
    for _ in &together {
        peer.request().await;
    }
    facade.becomes(OPENED, 2.0).await;
    facade.becomes(REUSED, 0.0).await;
    #[cfg(target_os = "linux")]
    facade.becomes(OPEN, 2.0).await;
    answer.notify_one();
    answer.notify_one();
    for call in together {
        call.await.unwrap().expect("an answer");
    }
    for _ in 0..3 {
        answer.notify_one();
        call().await.unwrap().expect("an answer");
    }

    assert_eq!(peer.connections(), 2);
    facade.becomes(OPENED, 2.0).await;
    facade.becomes(REUSED, 3.0).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_stytch_closes_is_not_open_any_more() {
    let peer = Peer::start(|mut connection| async move {
        if connection.request().await {
            connection.send(peer::json(200, Rpc::CREATE.answer)).await;
        }
    })
    .await;
    let facade = Facade::in_front_of(peer.addr).await;

    for opened in 1..=3 {
        Rpc::CREATE.try_for(facade.channel().await, "fresh").await.expect("an answer");

        facade.becomes(OPEN, 0.0).await;
        facade.becomes(OPENED, f64::from(opened)).await;
    }
}

#[tokio::test]
async fn calls_share_a_connection_of_http2() {
    let peer = Http2Peer::new().await;
    let facade = peer.setup().start().await;
    peer.serve(|mut connection| async move {
        while let Some(request) = connection.request().await {
            connection.answer(request.stream, Rpc::CREATE.answer).await;
        }
    });
    let channel = facade.channel().await;

    for _ in 0..4 {
        Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("an answer");
    }

    facade.becomes(OPENED, 1.0).await;
    facade.becomes(REUSED, 3.0).await;
    #[cfg(target_os = "linux")]
    facade.becomes(OPEN, 1.0).await;
}
