//! The same key gives the same answer whichever replica is asked, and whichever dies: with records
//! in a real Redis, and façades that are processes of their own.

use std::{
    collections::HashSet,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::{
    secrets::{self, secrets},
    support::{
        Closed, Deaf, Facade, PATIENCE, Setup, channel, info, is_replayed,
        peer::{self, Peer},
        process::{Server, serve, start},
        proxy::Proxy,
        redis::{self, Redis},
        rpc::Rpc,
    },
};

/// The upstream timeout of the processes. Their leases last two seconds longer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A Stytch that answers each request with another secret, on demand.
struct Stytch {
    peer: Peer,
    answer: Arc<Notify>,
}

impl Stytch {
    async fn new() -> Self {
        let answer = Arc::new(Notify::new());
        let count = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&answer);
        let peer = Peer::start(move |mut connection| {
            let (told, count) = (Arc::clone(&told), Arc::clone(&count));
            async move {
                while connection.request().await {
                    let secret = format!("SECRET{}", count.fetch_add(1, Ordering::SeqCst));
                    told.notified().await;
                    let answer = json!({"secret": secret}).to_string();
                    connection.send(peer::json(200, &answer)).await;
                }
            }
        })
        .await;
        Self { peer, answer }
    }
}

/// A façade that is a process of its own.
async fn replica(stytch: SocketAddr, redis: &str) -> (Server, Channel) {
    replica_with(stytch, redis, |_| {}).await
}

async fn replica_with(
    stytch: SocketAddr,
    redis: &str,
    more: impl FnOnce(&mut Command),
) -> (Server, Channel) {
    let mut command = serve(&format!("http://{stytch}"), secrets::STYTCH_SECRET);
    let timeout = format!("{}ms", TIMEOUT.as_millis());
    command
        .args([
            "--drain-delay",
            "0s",
            "--upstream-timeout",
            &timeout,
            "--connect-timeout",
            &timeout,
        ])
        .env("TOTP_FACADE_IDEMPOTENCY_URL", redis);
    more(&mut command);
    let (server, url) = start(command);
    (server, channel(&url).await)
}

/// A façade in this process.
async fn facade(stytch: SocketAddr, redis: &Redis) -> Facade {
    setup(stytch, redis).start().await
}

fn setup(stytch: SocketAddr, redis: &Redis) -> Setup {
    let mut setup = Setup::new(stytch);
    setup.idempotency.store = redis::store(&redis.url());
    setup
}

type Answer = Result<Response<Value>, Status>;

fn create(channel: &Channel, key: &str) -> tokio::task::JoinHandle<Answer> {
    tokio::spawn(Rpc::CREATE.keyed(channel.clone(), "fresh", key))
}

async fn ended(call: tokio::task::JoinHandle<Answer>) -> Answer {
    timeout(PATIENCE, call).await.expect("it hangs").unwrap()
}

/// Makes a call with a key, and kills Redis before the response comes.
async fn miss(redis: &mut Redis, stytch: &mut Stytch, channel: Channel) {
    let call = create(&channel, "key");
    stytch.peer.request().await;
    redis.kill();
    stytch.answer.notify_one();
    ended(call).await.expect("the answer does not wait for Redis");
}

#[track_caller]
fn is_unknown(answer: Answer) {
    let status = answer.expect_err("an unknown outcome");
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
    assert_eq!(info(&status).reason, "OUTCOME_UNKNOWN");
    assert!(is_replayed(status.metadata()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_calls_with_one_key_over_two_processes_stytch_sees_one_and_all_get_its_response() {
    let Some(redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let (_first, one) = replica(stytch.peer.addr, &redis.url()).await;
    let (_second, two) = replica(stytch.peer.addr, &redis.url()).await;
    let calls: Vec<_> = (0..100).flat_map(|_| [create(&one, "key"), create(&two, "key")]).collect();
    stytch.peer.request().await;
    stytch.answer.notify_one();

    let mut fresh = 0;
    for call in calls {
        let answer = ended(call).await.expect("the one answer");
        assert_eq!(answer.get_ref()["secret"], "SECRET0");
        fresh += usize::from(!is_replayed(answer.metadata()));
    }

    assert_eq!(fresh, 1);
    assert_eq!(stytch.peer.pending(), 0, "Stytch saw one request");
    for replica in [one, two] {
        let again = ended(create(&replica, "key")).await.expect("the same");
        assert_eq!(again.get_ref()["secret"], "SECRET0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_before_it_sends_leaves_unknown_and_nothing_is_sent() {
    let Some(redis) = Redis::start().await else { return };
    let deaf = Deaf::new().await;
    let stytch = Stytch::new().await;
    let (first, one) = replica(deaf.addr, &redis.url()).await;
    let (_second, two) = replica(stytch.peer.addr, &redis.url()).await;
    let call = create(&one, "key");
    let start = Instant::now();
    while redis.records().await == 0 {
        assert!(start.elapsed() < PATIENCE, "it does not claim the key");
    }

    first.kill();

    ended(call).await.expect_err("its replica is gone");
    is_unknown(ended(create(&two, "key")).await);
    assert_eq!(stytch.peer.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_after_it_sent_leaves_unknown_and_nothing_is_sent_again() {
    let Some(redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let (first, one) = replica(stytch.peer.addr, &redis.url()).await;
    let (_second, two) = replica(stytch.peer.addr, &redis.url()).await;
    let call = create(&one, "key");
    stytch.peer.request().await;

    first.kill();

    ended(call).await.expect_err("its replica is gone");
    let start = Instant::now();
    is_unknown(ended(create(&two, "key")).await);
    assert!(start.elapsed() < TIMEOUT + Duration::from_millis(2500), "{:?}", start.elapsed());
    is_unknown(ended(create(&two, "key")).await);
    assert_eq!(stytch.peer.pending(), 0, "Stytch saw one request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_with_the_response_in_hand_leaves_unknown_and_nothing_is_sent_again() {
    let Some(redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let proxy = Proxy::to(([127, 0, 0, 1], redis.port).into()).await;
    let (first, one) = replica(stytch.peer.addr, &format!("redis://{}", proxy.addr)).await;
    let (_second, two) = replica(stytch.peer.addr, &redis.url()).await;
    let call = create(&one, "key");
    stytch.peer.request().await;
    proxy.hold();
    stytch.answer.notify_one();
    // It has the answer, and asks Redis to keep it.
    proxy.held().await;

    first.kill();

    ended(call).await.expect_err("its replica is gone");
    is_unknown(ended(create(&two, "key")).await);
    assert_eq!(stytch.peer.pending(), 0, "Stytch saw one request");
}

#[tokio::test]
async fn each_worker_has_a_connection_of_its_own_to_redis() {
    let Some(redis) = Redis::start().await else { return };
    let peer = Peer::answering(peer::json(200, r#"{"secret": "SECRET"}"#)).await;
    let mut setup = setup(peer.addr, &redis);
    setup.server.worker_threads = 2;
    let facade = setup.start().await;
    let channels = [facade.channel().await, facade.channel().await];

    for key in ["1", "2", "3"] {
        for (worker, channel) in channels.iter().enumerate() {
            let key = format!("{key}-of-{worker}");
            Rpc::CREATE.keyed(channel.clone(), "fresh", &key).await.expect("an answer");
        }
    }

    let connections: String = redis.ask(&["CLIENT", "LIST"]).await;
    let of_scripts = connections.lines().filter(|line| line.contains(" cmd=eval"));
    let workers_and_main = 3;
    assert_eq!(of_scripts.count(), workers_and_main, "{connections}");
}

#[tokio::test]
async fn another_replica_may_send_what_one_could_not() {
    let Some(redis) = Redis::start().await else { return };
    let closed = Closed::new();
    let stytch = Stytch::new().await;
    stytch.answer.notify_one();
    let (one, two) = (facade(closed.addr, &redis).await, facade(stytch.peer.addr, &redis).await);
    let status = ended(create(&one.channel().await, "key")).await.expect_err("it is closed");
    assert_eq!(info(&status).upstream, "not_sent");

    let answer = ended(create(&two.channel().await, "key")).await.expect("a clean execution");

    assert!(!is_replayed(answer.metadata()));
    assert_eq!(stytch.peer.pending(), 1);
}

#[tokio::test]
async fn a_key_used_for_another_request_is_refused_by_every_replica_also_in_flight() {
    let Some(redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let (one, two) =
        (facade(stytch.peer.addr, &redis).await, facade(stytch.peer.addr, &redis).await);
    let call = create(&one.channel().await, "key");
    stytch.peer.request().await;

    for facade in [&one, &two] {
        let channel = facade.channel().await;
        let status = Rpc::CREATE.keyed(channel, "other", "key").await.expect_err("reused");
        assert_eq!(info(&status).reason, "IDEMPOTENCY_KEY_REUSED");
    }
    stytch.answer.notify_one();
    ended(call).await.expect("an answer");
    for facade in [&one, &two] {
        let channel = facade.channel().await;
        let status = Rpc::CREATE.keyed(channel, "other", "key").await.expect_err("reused");
        assert_eq!(info(&status).reason, "IDEMPOTENCY_KEY_REUSED");
    }
    assert_eq!(stytch.peer.pending(), 0);
}

#[tokio::test]
async fn a_rotated_secret_makes_records_unreadable_which_counts_as_unknown() {
    let Some(redis) = Redis::start().await else { return };
    let stytch = Stytch::new().await;
    stytch.answer.notify_one();
    let before = facade(stytch.peer.addr, &redis).await;
    ended(create(&before.channel().await, "key")).await.expect("an answer");
    let mut setup = setup(stytch.peer.addr, &redis);
    setup.stytch.secret = "secret-test-rotated".into();
    let after = setup.start().await;

    is_unknown(ended(create(&after.channel().await, "key")).await);

    assert_eq!(stytch.peer.pending(), 1, "Stytch saw one request");
}

#[tokio::test]
async fn redis_holds_no_plaintext_of_a_secret_a_code_a_token_or_a_key() {
    let Some(redis) = Redis::start().await else { return };
    for rpc in Rpc::mutating() {
        let answer = crate::support::fixture(&format!("{}.response.json", rpc.example));
        let (mut peer, tell) = Peer::patient(peer::json(200, &answer)).await;
        let facade = facade(peer.addr, &redis).await;
        let mut request = Request::new(secrets::request(rpc));
        let key = "an-idempotency-key-in-plain-text";
        request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
        let call = tokio::spawn((rpc.call)(facade.channel().await, request));
        peer.request().await;
        no_plaintext(&redis, key).await;
        tell.notify_one();
        call.await.unwrap().expect("an answer");
        no_plaintext(&redis, key).await;
    }
    assert_eq!(redis.records().await, 6);
}

async fn no_plaintext(redis: &Redis, key: &str) {
    let everything = redis.everything().await;
    assert!(everything.len() >= 2, "there is a record");
    for secret in secrets().iter().map(String::as_str).chain([key, "example-works", "Create"]) {
        let found = everything
            .iter()
            .any(|bytes| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        assert!(!found, "{secret} is in Redis");
    }
}

/// Calls with and without keys, while Redis breaks and is repaired. Every call ends in time, those
/// without a key all succeed, and no key is sent twice; but where Redis `forgets`, those of before
/// may be afterwards.
async fn under_load(
    redis: &mut Redis,
    forgets: bool,
    breaks: impl AsyncFnOnce(&mut Redis),
    is_mended: impl AsyncFnOnce(&mut Redis),
) {
    const DEADLINE: Duration = Duration::from_millis(2500);
    let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let peer = Peer::start(move |mut connection| {
        let sender = sender.clone();
        async move {
            while connection.request().await {
                let _ = sender.send(());
                connection.send(peer::json(200, Rpc::CREATE.answer)).await;
            }
        }
    });
    let mut peer = peer.await;
    let facade = facade(peer.addr, redis).await;
    let channel = facade.channel().await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (channel, stop) = (channel.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut ok, mut refused) = (0, 0);
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let start = Instant::now();
                    let member = format!("member-{worker}-{number}");
                    // Half of them without a key; those with one are sent three times.
                    let keyed = worker % 2 == 0;
                    for _ in 0..if keyed { 3 } else { 1 } {
                        let mut request = match keyed {
                            true => Rpc::CREATE.keyed_request(&member, &member),
                            false => Request::new((Rpc::CREATE.request)(&member)),
                        };
                        request.set_timeout(DEADLINE);
                        match (Rpc::CREATE.call)(channel.clone(), request).await {
                            Ok(_) => ok += 1,
                            Err(status) => {
                                assert!(keyed, "without a key: {status:?}");
                                let code = status.code();
                                assert!(
                                    matches!(code, Code::Unavailable | Code::DeadlineExceeded),
                                    "{status:?}"
                                );
                                refused += 1;
                            }
                        }
                        let limit = DEADLINE + Duration::from_millis(500);
                        assert!(start.elapsed() < limit * 3, "{:?}", start.elapsed());
                    }
                }
                (ok, refused)
            })
        })
        .collect();
    for _ in 0..100 {
        timeout(PATIENCE, sent.recv()).await.unwrap();
    }

    breaks(redis).await;
    let broken = peer.pending();
    is_mended(redis).await;
    let repaired = peer.pending();

    for _ in 0..100 {
        timeout(PATIENCE, sent.recv()).await.unwrap();
    }
    // With a new key all is well again.
    let start = Instant::now();
    while Rpc::CREATE.keyed(channel.clone(), "after", "after").await.is_err() {
        assert!(start.elapsed() < PATIENCE, "it does not recover");
    }
    stop.store(true, Ordering::SeqCst);
    let (mut ok, mut refused) = (0, 0);
    for worker in workers {
        let (its_ok, its_refused) = timeout(PATIENCE, worker).await.unwrap().unwrap();
        ok += its_ok;
        refused += its_refused;
    }
    assert!(ok > 100 && refused > 0, "{ok} succeeded, {refused} were refused");
    let mut members = Vec::new();
    for _ in 0..peer.pending() {
        members.push(peer.request().await.json()["member_id"].as_str().unwrap().to_owned());
    }
    let parts = match forgets {
        false => vec![&members[..]],
        true => vec![&members[..broken], &members[repaired..]],
    };
    for part in parts {
        let different: HashSet<_> = part.iter().collect();
        assert_eq!(different.len(), part.len(), "sent twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_paused_under_load_costs_no_deadline_and_no_second_send() {
    let Some(mut redis) = Redis::start().await else { return };
    let pause = async |redis: &mut Redis| {
        redis.pause();
        tokio::time::sleep(Duration::from_millis(1500)).await;
    };
    under_load(&mut redis, false, pause, async |redis| redis.resume()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_stopped_under_load_costs_no_deadline_and_no_second_send() {
    let Some(mut redis) = Redis::start().await else { return };
    let stop = async |redis: &mut Redis| {
        redis.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    under_load(&mut redis, true, stop, async |redis| redis.restart().await).await;
}

#[tokio::test]
async fn a_call_in_flight_is_not_doubled_by_its_replica_when_redis_comes_back_empty() {
    let Some(mut redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let facade = facade(stytch.peer.addr, &redis).await;
    let channel = facade.channel().await;
    let first = create(&channel, "key");
    stytch.peer.request().await;
    redis.restart().await;
    assert_eq!(redis.records().await, 0, "it has forgotten everything");

    let second = create(&channel, "key");
    // It has come in once another request with the key has been refused.
    let other = Rpc::CREATE.keyed(channel.clone(), "other", "key").await.expect_err("reused");
    assert_eq!(info(&other).reason, "IDEMPOTENCY_KEY_REUSED");
    stytch.answer.notify_one();

    for call in [first, second] {
        assert_eq!(ended(call).await.expect("the one answer").get_ref()["secret"], "SECRET0");
    }
    // The answer is stored where the claim was forgotten.
    let start = Instant::now();
    while redis.records().await == 0 {
        assert!(start.elapsed() < PATIENCE, "it is not stored");
    }
    let again = ended(create(&channel, "key")).await.expect("the same");
    assert_eq!(again.get_ref()["secret"], "SECRET0");
    assert_eq!(stytch.peer.pending(), 0, "Stytch saw one request");
}

#[tokio::test]
async fn a_response_that_redis_missed_is_stored_when_it_is_back() {
    let Some(mut redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let one = facade(stytch.peer.addr, &redis).await;
    miss(&mut redis, &mut stytch, one.channel().await).await;

    redis.restart().await;

    let start = Instant::now();
    while redis.records().await == 0 {
        assert!(start.elapsed() < PATIENCE, "it is not stored");
    }
    let two = facade(stytch.peer.addr, &redis).await;
    let again = ended(create(&two.channel().await, "key")).await.expect("the same");
    assert_eq!(again.get_ref()["secret"], "SECRET0");
    assert_eq!(stytch.peer.pending(), 0, "Stytch saw one request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_waits_until_redis_has_a_response_that_it_missed() {
    let Some(mut redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let (server, channel) = replica(stytch.peer.addr, &redis.url()).await;
    miss(&mut redis, &mut stytch, channel).await;

    server.signal("TERM");

    redis.restart().await;
    let (code, _, stderr) = server.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(redis.records().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_misses_until_the_end_of_a_drain_is_logged() {
    let Some(mut redis) = Redis::start().await else { return };
    let mut stytch = Stytch::new().await;
    let (server, channel) = replica_with(stytch.peer.addr, &redis.url(), |command| {
        command.args(["--drain-timeout", "200ms"]);
    })
    .await;
    miss(&mut redis, &mut stytch, channel).await;

    server.signal("TERM");

    let (code, _, stderr) = server.end();
    assert_eq!(code, Some(0), "{stderr}");
    let line = stderr.lines().find(|it| it.contains("the process ends before Redis has"));
    assert!(line.is_some_and(|line| line.contains(r#""keys":1"#)), "{stderr}");
}

#[tokio::test]
async fn calls_that_are_refused_together_for_lack_of_redis_are_no_replays() {
    let Some(mut redis) = Redis::start().await else { return };
    let peer = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let facade = facade(peer.addr, &redis).await;
    let channel = facade.channel().await;
    redis.pause();
    let calls = [create(&channel, "key"), create(&channel, "key")];
    facade.shows("totp_facade_idempotency_waiters 1").await;

    redis.kill();

    for call in calls {
        let status = ended(call).await.expect_err("no Redis");
        assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");
        assert!(!is_replayed(status.metadata()), "{status:?}");
    }
    facade.shows("totp_facade_idempotency_replays_total 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_redis_failed_and_that_it_is_back() {
    let Some(mut redis) = Redis::start().await else { return };
    let peer = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let mut command = serve(&format!("http://{}", peer.addr), secrets::STYTCH_SECRET);
    command.args(["--drain-delay", "0s"]).env("TOTP_FACADE_IDEMPOTENCY_URL", redis.url());
    let (server, url) = start(command);
    redis.kill();
    let refused = ended(create(&channel(&url).await, "key")).await.expect_err("without Redis");
    assert_eq!(info(&refused).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");

    redis.restart().await;
    let begun = Instant::now();
    while ended(create(&channel(&url).await, "key")).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "Redis is not used again");
    }

    server.signal("TERM");
    let (_, _, stderr) = server.end();
    let address = format!("\"address\":\"{}\"", redis.url());
    for said in ["a call with a key is refused", "the idempotency store can be used again"] {
        let line = stderr.lines().find(|line| line.contains(said));
        let line = line.unwrap_or_else(|| panic!("no line says {said:?}: {stderr}"));
        assert!(line.contains(&address), "{line}");
    }
}

/// What a façade may do there, as `docs/retries.md` has it.
const RIGHTS: [&str; 6] = ["~totp-facade:*", "resetchannels", "+get", "+set", "+pttl", "+eval"];

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_over_tls_with_a_password_that_no_log_shows() {
    const PASSWORD: &str = "pass-word-never-to-be-printed";
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let flags = |folder: &std::path::Path, port: u16| {
        let file = |name: &str, pem: String| {
            let path = folder.join(name);
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let certificate = file("certificate.pem", cert.pem());
        let key = file("key.pem", signing_key.serialize_pem());
        let password = format!(">{PASSWORD}");
        let user = [&["--user", "facade", "on", &password], &RIGHTS[..]].concat();
        let port = port.to_string();
        [
            &["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"],
            &["--tls-cert-file", &certificate, "--tls-key-file", &key][..],
            &["--user", "default", "off"],
            &user,
        ]
        .concat()
        .into_iter()
        .map(ToOwned::to_owned)
        .collect()
    };
    let Some(redis) = Redis::with_flags(flags).await else { return };
    let peer = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let replica = |user: &str, trusts: &str| {
        let mut command = serve(&format!("http://{}", peer.addr), secrets::STYTCH_SECRET);
        let url = format!("rediss://{user}:{PASSWORD}@localhost:{}", redis.port);
        command
            .args(["--drain-delay", "0s", "--log", "trace"])
            .env("TOTP_FACADE_IDEMPOTENCY_URL", url)
            .env("SSL_CERT_FILE", redis.folder().join(trusts));
        start(command)
    };
    let mut logs = Vec::new();
    for (user, trusts, good) in [
        ("facade", "certificate.pem", true),
        ("facade", "certificate.pem", true),
        ("nobody", "certificate.pem", false),
        ("facade", "nothing.pem", false),
    ] {
        let (mut server, url) = replica(user, trusts);
        let answer = ended(create(&channel(&url).await, "key")).await;

        match (good, answer) {
            (true, answer) => drop(answer.expect("an answer")),
            (false, Ok(_)) => panic!("{user} got in, trusting {trusts}"),
            (false, Err(status)) => {
                assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");
            }
        }
        // What is wrong is said at the start, on a connection of its own.
        server.logged(if good { "remembered in Redis" } else { "until Redis can be used" });
        server.signal("TERM");
        let (code, stdout, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        logs.push(stdout + &stderr);
    }

    assert_eq!(peer.pending(), 1, "the second replica got it from Redis");
    for log in &logs {
        assert!(!log.contains(PASSWORD), "{log}");
    }
    let streams: Vec<_> = logs.iter().map(|log| ("a replica", log.as_str())).collect();
    secrets::assert_none_in(&streams);
}

#[tokio::test]
async fn without_redis_calls_with_a_key_are_refused_unsent_and_the_others_go_on() {
    let closed = Closed::new();
    let peer = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let mut setup = Setup::new(peer.addr);
    setup.idempotency.store = redis::store(&format!("redis://{}", closed.addr));
    let facade = setup.start().await;
    let channel = facade.channel().await;

    let calls = [(); 20].map(|()| Rpc::CREATE.keyed(channel.clone(), "fresh", "key"));
    for answer in join_all(calls).await {
        let status = answer.expect_err("no store");
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");
        assert_eq!(info(&status).upstream, "not_sent");
    }
    assert_eq!(peer.pending(), 0);
    Rpc::CREATE.try_for(channel, "fresh").await.expect("a call without a key");
}
