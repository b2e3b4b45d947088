//! When audit events are written: before the response leaves, and whole, whatever becomes of the
//! process, of its callers and of standard error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::Value;
use tonic::transport::Channel;

use crate::{
    secrets::STYTCH_SECRET,
    support::{
        PATIENCE, channel,
        folder::Folder,
        peer::{self, Peer},
        process::{Server, serve},
        report,
        rpc::Rpc,
    },
};

/// Returns a façade that logs JSON.
fn command(peer: &Peer, flags: &[&str]) -> Command {
    let mut command = serve(&format!("http://{}", peer.addr), STYTCH_SECRET);
    command.args(["--drain-delay", "0s", "--log-format", "json"]).args(flags);
    command
}

/// Starts a façade whose standard error goes there. Returns it with a channel to it.
async fn start(command: Command, stderr: impl Into<Stdio>) -> (Server, Channel) {
    let mut server = Server::start_with(command, stderr);
    let url = format!("http://{}", server.addr("grpc"));
    (server, channel(&url).await)
}

/// A file of log lines.
struct Log {
    _folder: Folder,
    path: PathBuf,
}

impl Log {
    fn new() -> (Self, File) {
        let folder = Folder::new();
        let path = folder.path("stderr");
        let file = File::options().create(true).append(true).open(&path).unwrap();
        (Self { _folder: folder, path }, file)
    }

    fn events(&self) -> Vec<Value> {
        events(&self.path)
    }

    /// Returns the members that successful calls are recorded for.
    fn members(&self) -> BTreeSet<String> {
        members(self.events())
    }

    /// Returns the same after a kill, which may cut the last line.
    fn members_after_kill(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        members(audit_events(whole))
    }
}

/// Returns the members that successful calls are recorded for.
fn members(events: Vec<Value>) -> BTreeSet<String> {
    let done = events.into_iter().filter(|event| event["outcome"] == "done");
    done.map(|event| event["member_id"].as_str().unwrap().to_owned()).collect()
}

/// Returns the audit events in a file. Each of its lines is whole.
fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut");
    audit_events(&text)
}

fn audit_events(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["target"] == "audit").collect()
}

async fn answering() -> Peer {
    Peer::answering(peer::json(200, Rpc::CREATE.answer)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_call_is_written_before_its_caller_is_answered() {
    let peer = answering().await;
    let (log, file) = Log::new();
    let (_server, channel) = start(command(&peer, &[]), file).await;
    for number in 1..=20 {
        let (member, key) = (format!("member-{number}"), format!("key-{number}"));
        let last = || log.events().pop().expect("an event");

        Rpc::CREATE.try_for(channel.clone(), &member).await.expect("an answer");
        assert_eq!(
            (&last()["member_id"], &last()["idempotency"]),
            (&member.as_str().into(), &"none".into())
        );
        Rpc::CREATE.keyed(channel.clone(), &member, &key).await.expect("an answer");
        assert_eq!(last()["idempotency"], "fresh");
        Rpc::CREATE.keyed(channel.clone(), &member, &key).await.expect("an answer");
        assert_eq!(
            (&last()["member_id"], &last()["idempotency"]),
            (&member.as_str().into(), &"replayed".into())
        );
        assert_eq!(log.events().len(), 3 * number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_calls_that_are_answered_together_are_all_written_before() {
    let peer = answering().await;
    let (log, file) = Log::new();
    let (_server, channel) = start(command(&peer, &[]), file).await;
    let call = async |number: usize| {
        let member = format!("member-{number}");
        match number % 2 {
            0 => Rpc::CREATE.try_for(channel.clone(), &member).await,
            _ => Rpc::CREATE.keyed(channel.clone(), &member, &member).await,
        }
        .expect("an answer");
        assert!(log.members().contains(&member), "{member}");
    };

    join_all((0..64).map(call)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_call_whose_caller_went_away_is_written_without_any_further_traffic() {
    for flags in [&[][..], &["--audit-write", "background"]] {
        for keyed in [false, true] {
            let (mut peer, tell) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
            let (lines, pipe) = std::io::pipe().unwrap();
            let (_server, channel) = start(command(&peer, flags), pipe).await;
            let call = tokio::spawn(async move {
                match keyed {
                    false => Rpc::CREATE.try_for(channel, "fresh").await,
                    true => Rpc::CREATE.keyed(channel, "fresh", "key").await,
                }
            });
            peer.request().await;
            call.abort();
            let _ = call.await;
            tell.notify_one();

            // Waits for the event as long as it takes.
            let mut lines = BufReader::new(lines).lines();
            let event = lines.find_map(|line| {
                let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
                (line["target"] == "audit").then_some(line)
            });
            assert_eq!(event.expect("an event")["outcome"], "done", "{flags:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_background_are_written_without_further_traffic_and_at_the_end() {
    let peer = answering().await;
    let (log, file) = Log::new();
    let (server, channel) = start(command(&peer, &["--audit-write", "background"]), file).await;
    Rpc::CREATE.try_for(channel.clone(), "first").await.expect("an answer");
    let patience = Instant::now() + PATIENCE;
    while log.members().is_empty() {
        assert!(Instant::now() < patience);
        tokio::task::yield_now().await;
    }

    Rpc::CREATE.try_for(channel, "last").await.expect("an answer");
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));

    assert_eq!(log.members(), ["first", "last"].map(str::to_owned).into());
}

#[cfg(target_os = "linux")] // which has /dev/full
#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_takes_nothing_stops_no_call() {
    let peer = answering().await;
    let closed = std::io::pipe().unwrap().1;
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(closed), Stdio::from(full)] {
        let (server, channel) = start(command(&peer, &["--log", "trace"]), stderr).await;

        for _ in 0..20 {
            Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("an answer");
        }
        drop(channel);

        server.signal("TERM");
        assert_eq!(server.end().0, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_log_lines_of_many_threads_stay_whole() {
    let peer = answering().await;
    let (log, file) = Log::new();
    let (server, channel) = start(command(&peer, &["--log", "trace"]), file).await;
    // Together they take more than a pipe or a page writes as one.
    let long = "\"\\".repeat(100);
    let members: BTreeSet<_> = (0..48).map(|number| format!("{number}{long}")).collect();

    let calls = members.iter().map(|member| Rpc::CREATE.try_for(channel.clone(), member));
    join_all(calls).await.into_iter().for_each(|answer| drop(answer.expect("an answer")));
    drop(channel);
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));

    assert_eq!(log.members(), members);
}

/// Streams that load a façade until it is killed.
const STREAMS: usize = 48;

/// Loads a façade, kills it, and returns each member whose call was answered, with the time from
/// the answer to the kill; and the members of the log.
async fn kill(peer: &Peer, flags: &[&str]) -> (BTreeMap<String, Duration>, BTreeSet<String>) {
    let (log, file) = Log::new();
    let (server, channel) = start(command(peer, flags), file).await;
    let answered = Arc::new(Mutex::new(BTreeMap::new()));
    let streams = (0..STREAMS).map(|stream| {
        let (channel, answered) = (channel.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            for number in 0.. {
                let member = format!("member-{stream}-{number}");
                let answer = match stream % 4 {
                    0 => Rpc::CREATE.keyed(channel.clone(), &member, &member).await,
                    _ => Rpc::CREATE.try_for(channel.clone(), &member).await,
                };
                if answer.is_err() {
                    return;
                }
                answered.lock().unwrap().insert(member, Instant::now());
            }
        })
    });
    let streams: Vec<_> = streams.collect();
    tokio::time::sleep(Duration::from_micros(fastrand::u64(50_000..350_000))).await;
    let killed = Instant::now();
    server.kill();
    join_all(streams).await.into_iter().for_each(|stream| stream.unwrap());
    let answered = std::mem::take(&mut *answered.lock().unwrap());
    let before = answered.into_iter().map(|(it, at)| (it, killed.saturating_duration_since(at)));
    (before.collect(), log.members_after_kill())
}

/// How often to kill it: `just kill` does so more often.
fn rounds() -> usize {
    std::env::var("KILL_ROUNDS").map_or(4, |rounds| rounds.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answered_call_lacks_its_event_after_a_kill() {
    let (peer, mut calls) = (answering().await, 0);
    for round in 0..rounds() {
        let (answered, audited) = kill(&peer, &[]).await;
        calls += answered.len();
        let lost: Vec<_> = answered.keys().filter(|it| !audited.contains(*it)).collect();
        assert!(lost.is_empty(), "round {round} of {} calls lost {lost:?}", answered.len());
    }
    assert!(calls > 0, "there was no load");
    report(&format!("{calls} calls were answered, each with an event"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_only_the_latest_events_of_the_background() {
    // Ten milliseconds, and time for a busy machine.
    const LATEST: Duration = Duration::from_millis(100);
    let (peer, mut calls, mut all_lost, mut oldest) = (answering().await, 0, 0, Duration::ZERO);
    for round in 0..rounds() {
        let (answered, audited) = kill(&peer, &["--audit-write", "background"]).await;
        calls += answered.len();
        let lost = answered.iter().filter(|(member, _)| !audited.contains(*member));
        let lost: Vec<_> = lost.map(|(_, age)| *age).collect();
        all_lost += lost.len();
        oldest = oldest.max(lost.into_iter().max().unwrap_or_default());
        assert!(oldest < LATEST, "round {round} lost a call of {oldest:?} before the kill");
    }
    assert!(calls > 0, "no call was answered");
    report(&format!(
        "{calls} calls were answered, {all_lost} without an event, the oldest {oldest:?} before"
    ));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_process_whose_standard_error_is_blocked() {
    use std::io::Write as _;

    let peer = answering().await;
    let (_unread, mut stderr) = std::io::pipe().unwrap();
    // As much as a pipe holds.
    stderr.write_all(&[b' '; 64 * 1024]).unwrap();
    for workers in ["1", "2"] {
        let flags = ["--log", "warn", "--worker-threads", workers];
        let (server, channel) = start(command(&peer, &flags), stderr.try_clone().unwrap()).await;
        let mut request = tonic::Request::new((Rpc::CREATE.request)("member"));
        request.set_timeout(Duration::from_millis(500));
        // Its event cannot be written.
        let _ = tokio::time::timeout(PATIENCE, (Rpc::CREATE.call)(channel, request)).await;
        let start = Instant::now();

        server.signal("TERM");
        // Another kind, for two of one kind may arrive as one.
        server.signal("INT");

        assert_eq!(server.end().0, Some(1), "{workers} workers");
        assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    }
}
