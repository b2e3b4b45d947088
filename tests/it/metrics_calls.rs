//! The metrics of each gRPC call.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::{Code, Request, client::Grpc, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;

use crate::support::{
    Facade, Setup, create,
    peer::{Peer, json},
    rpc::Rpc,
    sandbox,
};

const CREATE: &str = "stytch.b2b.totp.v1.TotpService";

fn handled(service: &str, method: &str, code: &str) -> String {
    format!(
        "grpc_server_handled_total{{grpc_type=\"unary\",grpc_service=\"{service}\",\
         grpc_method=\"{method}\",grpc_code=\"{code}\"}}"
    )
}

fn by_caller(caller: &str, method: &str, code: &str, upstream: &str) -> String {
    format!(
        "totp_facade_calls_total{{caller=\"{caller}\",grpc_method=\"{method}\",\
         grpc_code=\"{code}\",upstream=\"{upstream}\"}}"
    )
}

fn duration(method: &str, code: &str, error_type: Option<&str>) -> String {
    let error_type = error_type.map(|it| format!(",error_type=\"{it}\"")).unwrap_or_default();
    format!(
        "rpc_server_call_duration_seconds_count{{rpc_system_name=\"grpc\",rpc_method=\"{method}\",\
         rpc_status_code=\"{code}\",rpc_response_status_code=\"{code}\"{error_type}}}"
    )
}

/// Calls a method by its path, with a message that any method reads.
async fn call(channel: &Channel, path: &str) -> Code {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(path.to_owned()).unwrap();
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let request = Request::new(HealthCheckRequest::default());
    grpc.unary(request, path, codec).await.expect_err("no such method").code()
}

#[tokio::test]
async fn a_call_is_counted_by_method_code_caller_and_outcome() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut client = facade.client().await;
    assert_eq!(facade.scrape().await.value(&handled(CREATE, "Create", "OK")), Some(0.0));

    client.create(create("fresh")).await.expect("a TOTP");
    client.create(create("nobody")).await.expect_err("no such member");
    client.create(create("")).await.expect_err("an invalid request");

    let path = format!("{CREATE}/Create");
    for (sample, value) in [
        (handled(CREATE, "Create", "OK"), 1.0),
        (handled(CREATE, "Create", "NotFound"), 1.0),
        (handled(CREATE, "Create", "InvalidArgument"), 1.0),
        (by_caller("anonymous", "Create", "OK", "done"), 1.0),
        (by_caller("anonymous", "Create", "NotFound", "rejected"), 1.0),
        (by_caller("anonymous", "Create", "InvalidArgument", "not_sent"), 1.0),
        ("totp_facade_refusals_total{reason=\"INVALID_REQUEST\"}".into(), 1.0),
        (duration(&path, "OK", None), 1.0),
        (duration(&path, "NOT_FOUND", None), 1.0),
    ] {
        facade.becomes(&sample, value).await;
    }
    let started = format!(
        "grpc_server_started_total{{grpc_type=\"unary\",grpc_service=\"{CREATE}\",\
         grpc_method=\"Create\"}}"
    );
    assert_eq!(facade.scrape().await.value(&started), Some(3.0));
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_counts_as_canceled_and_unknown_once_it_was_sent() {
    let (mut peer, answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    let mut client = facade.client().await;
    let call = tokio::spawn(async move { client.create(create("fresh")).await });
    peer.request().await;

    call.abort();

    facade.becomes(&by_caller("anonymous", "Create", "Canceled", "unknown"), 1.0).await;
    facade.becomes(&handled(CREATE, "Create", "Canceled"), 1.0).await;
    answer.notify_one();
}

#[tokio::test]
async fn a_deadline_is_an_error_of_the_server_and_its_call_unknown() {
    let (_peer, _answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
    let facade = Facade::in_front_of(_peer.addr).await;
    let mut request = Request::new(create("fresh"));
    request.set_timeout(Duration::from_millis(50));

    facade.client().await.create(request).await.expect_err("too late");

    let path = format!("{CREATE}/Create");
    facade.becomes(&duration(&path, "DEADLINE_EXCEEDED", Some("DEADLINE_EXCEEDED")), 1.0).await;
    facade.becomes(&by_caller("anonymous", "Create", "DeadlineExceeded", "unknown"), 1.0).await;
}

fn audited(outcome: &str) -> String {
    format!("totp_facade_audit_outcomes_total{{outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn a_call_whose_caller_does_not_wait_counts_by_its_real_end() {
    for is_late in [false, true] {
        let (mut peer, answer) = Peer::patient(json(200, Rpc::CREATE.answer)).await;
        let facade = Facade::in_front_of(peer.addr).await;
        let mut client = facade.client().await;
        let mut request = Request::new(create("fresh"));
        if is_late {
            request.set_timeout(Duration::from_millis(200));
        }
        let call = tokio::spawn(async move { client.create(request).await });
        peer.request().await;
        let code = match is_late {
            true => {
                call.await.unwrap().expect_err("too late");
                "DeadlineExceeded"
            }
            false => {
                call.abort();
                "Canceled"
            }
        };
        facade.becomes(&by_caller("anonymous", "Create", code, "unknown"), 1.0).await;

        answer.notify_one();

        facade.becomes(&audited("done"), 1.0).await;
        let page = facade.scrape().await;
        assert_eq!(page.value(&audited("unknown")), Some(0.0), "{code}");
    }
}

#[tokio::test]
async fn each_call_that_was_sent_counts_once_by_what_is_known_of_it_in_the_end() {
    let sandbox = sandbox().await;
    let (facade, failing) = (
        Facade::in_front_of(sandbox).await,
        Facade::in_front_of(Peer::answering(json(500, "")).await.addr).await,
    );

    for _ in 0..2 {
        let channel = facade.channel().await;
        Rpc::CREATE.keyed(channel.clone(), "fresh", "one").await.expect("a TOTP");
        Rpc::CREATE.keyed(channel.clone(), "nobody", "two").await.expect_err("no such member");
        Rpc::CREATE.try_for(channel.clone(), "").await.expect_err("nothing is sent");
        Rpc::GET.try_for(channel, "fresh").await.expect_err("it only reads");
        let channel = failing.channel().await;
        Rpc::CREATE.keyed(channel, "fresh", "three").await.expect_err("a failure");
    }

    for (facade, counts) in [(facade, [1.0, 1.0, 0.0]), (failing, [0.0, 0.0, 1.0])] {
        for (outcome, count) in ["done", "rejected", "unknown"].into_iter().zip(counts) {
            facade.becomes(&audited(outcome), count).await;
        }
    }
}

#[tokio::test]
async fn a_replay_counts_as_what_it_replays() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let channel = facade.channel().await;

    for _ in 0..2 {
        Rpc::CREATE.keyed(channel.clone(), "fresh", "one").await.expect("a TOTP");
        Rpc::CREATE.keyed(channel.clone(), "nobody", "two").await.expect_err("no such member");
    }

    facade.becomes(&by_caller("anonymous", "Create", "OK", "done"), 2.0).await;
    facade.becomes(&by_caller("anonymous", "Create", "NotFound", "rejected"), 2.0).await;
}

#[tokio::test]
async fn methods_that_are_not_served_are_one_series_however_many_names_a_caller_makes_up() {
    let facade = Setup::new(sandbox().await).start().await;
    let channel = facade.channel().await;
    call(&channel, "/made.up.Service/Method0").await;
    facade.becomes(&handled("_OTHER", "_OTHER", "Unimplemented"), 1.0).await;
    let before = facade.scrape().await.len();

    for number in 1..20 {
        let paths = [format!("/made.up.S{number}/M"), format!("/{CREATE}/Made{number}")];
        for path in paths {
            assert_eq!(call(&channel, &path).await, Code::Unimplemented);
        }
    }

    facade.becomes(&handled("_OTHER", "_OTHER", "Unimplemented"), 39.0).await;
    assert_eq!(facade.scrape().await.len(), before);
}

#[tokio::test]
async fn health_checks_are_counted_and_are_no_calls_of_a_caller() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut health = HealthClient::new(facade.channel().await);

    health.check(HealthCheckRequest::default()).await.expect("it serves");

    facade.becomes(&handled("grpc.health.v1.Health", "Check", "OK"), 1.0).await;
    assert!(facade.scrape().await.samples("totp_facade_calls_total").is_empty());
}

#[tokio::test]
async fn a_scraper_that_asks_for_openmetrics_gets_it_and_others_get_prometheus_text() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let url = format!("http://{}/metrics", facade.admin);
    let get = async |accept: Option<&str>| {
        let mut request = reqwest::Client::new().get(&url);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let page = request.send().await.unwrap();
        let kind = page.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, page.text().await.unwrap())
    };

    // What Prometheus 2.42 sends.
    let accept = "application/openmetrics-text;version=1.0.0,\
                  application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5";
    let (kind, page) = get(Some(accept)).await;
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    for accept in [None, Some("*/*"), Some("text/plain")] {
        let (kind, page) = get(accept).await;
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        assert!(!page.contains("# EOF"), "{page}");
        assert!(page.contains("\n# TYPE grpc_server_handled_total counter\n"), "{page}");
    }
}
