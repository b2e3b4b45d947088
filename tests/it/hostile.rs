//! Hostile clients: the memory of the process stays bounded, and other clients are served
//! meanwhile.
//!
//! The façade runs as a process of its own. Each test prints what its attack cost.

use std::{
    cell::Cell,
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::{
    Ping, Reason, SendStream,
    client::{ResponseFuture, SendRequest, handshake},
};
use http::Request;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{interval, timeout},
};
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;
use totp_facade::access;

use crate::support::{
    PATIENCE, Setup,
    credentials::Authority,
    door,
    folder::Folder,
    frames,
    peer::{self, Peer},
    process::{self, Server, serve},
    report,
    rpc::Rpc,
};

const MIB: usize = 1024 * 1024;
const CREATE: &str = Rpc::CREATE.name;

/// A façade under attack, as a process of its own.
struct Victim {
    server: Server,
    addr: SocketAddr,
    admin: SocketAddr,
    endpoint: Endpoint,
    /// Its memory before the attack, in bytes.
    before: usize,
    /// Honest calls and connects that failed because their connection was closed.
    cut: AtomicUsize,
    _files: Folder,
}

impl Victim {
    async fn new(flags: &[&str]) -> Self {
        Self::behind(None, flags).await
    }

    async fn with_tls() -> Self {
        Self::behind(Some(&Authority::new()), &[]).await
    }

    async fn behind(authority: Option<&Authority>, flags: &[&str]) -> Self {
        let stytch = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
        Self::in_front_of(&stytch, authority, flags).await
    }

    async fn in_front_of(stytch: &Peer, authority: Option<&Authority>, flags: &[&str]) -> Self {
        more_files();
        let mut command = serve(&format!("http://{}", stytch.addr), "secret");
        command.args(["--drain-delay", "0s"]).args(flags);
        let folder = Folder::new();
        if let Some(authority) = authority {
            let (certificate, key) = authority.certify(&["dns:localhost"], false);
            command.arg("--tls-cert-file").arg(folder.write("server.pem", &certificate));
            command.arg("--tls-key-file").arg(folder.write("server.key", &key));
        }
        let mut server = Server::start(command);
        let (addr, admin) = (server.addr("grpc"), server.addr("admin"));
        let endpoint = match authority {
            None => Endpoint::from_shared(format!("http://{addr}")).unwrap(),
            Some(authority) => authority.endpoint(addr, None),
        };
        let (before, cut) = (0, AtomicUsize::new(0));
        let mut victim = Self { server, addr, admin, endpoint, before, cut, _files: folder };
        victim.honest_call(&victim.channel().await).await;
        victim.before = victim.memory("VmRSS");
        victim
    }

    /// Reads a line of its `/proc/PID/status`, in bytes.
    fn memory(&self, line: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let found = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
        let kib = found.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    /// Returns how many series its page of metrics has.
    async fn series(&self) -> usize {
        let page = reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap();
        page.text().await.unwrap().lines().filter(|line| !line.starts_with('#')).count()
    }

    async fn channel(&self) -> Channel {
        let connected = async {
            loop {
                match self.endpoint.connect().await {
                    Ok(channel) => return channel,
                    Err(_) => self.cut.fetch_add(1, Ordering::Relaxed),
                };
            }
        };
        timeout(PATIENCE, connected).await.expect("a connection in time")
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Connects an HTTP/2 client that sends what a test says.
    async fn h2(&self) -> Client {
        Client::new(self.addr).await
    }

    /// Makes a call as an honest client would, and retries it if its connection was evicted.
    /// Returns how long it took.
    async fn honest_call(&self, channel: &Channel) -> Duration {
        let start = Instant::now();
        let answered = async {
            loop {
                let request = tonic::Request::new((Rpc::CREATE.request)("fresh"));
                match (Rpc::CREATE.call)(channel.clone(), request).await {
                    Ok(_) => return,
                    Err(status) if status.get_error_details().error_info().is_none() => {
                        self.cut.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => panic!("{status:?}"),
                }
            }
        };
        timeout(PATIENCE, answered).await.expect("a response in time");
        start.elapsed()
    }

    /// Runs the attack, and meanwhile makes honest calls, on a connection from before and on new
    /// ones. Reports what it cost, and fails if that is `limit` bytes or more.
    async fn withstands<T>(&self, what: &str, limit: usize, attack: impl Future<Output = T>) -> T {
        let old = self.channel().await;
        let (mut calls, mut slowest) = (0, Duration::ZERO);
        let over = Cell::new(false);
        let mut pace = interval(Duration::from_millis(20));
        let honest = async {
            while calls == 0 || !over.get() {
                pace.tick().await;
                let new = async {
                    let start = Instant::now();
                    self.honest_call(&self.channel().await).await;
                    start.elapsed()
                };
                let (one, other) = tokio::join!(self.honest_call(&old), new);
                (calls, slowest) = (calls + 2, slowest.max(one).max(other));
            }
        };
        let start = Instant::now();
        let attack = async {
            let result = attack.await;
            over.set(true);
            (result, start.elapsed())
        };
        let ((result, took), ()) = tokio::join!(attack, honest);
        self.honest_call(&old).await;
        let cut = self.cut.load(Ordering::Relaxed);
        let (before, peak, after) = (self.before, self.memory("VmHWM"), self.memory("VmRSS"));
        report(&format!(
            "{what}, in {took:.1?}: {} MiB before, {} at most, {} after; {calls} honest calls meanwhile, {cut} \
             cut and retried, the slowest {slowest:.0?}",
            before / MIB,
            peak / MIB,
            after / MIB,
        ));
        assert!(peak < before + limit, "{what}: {peak} bytes");
        assert!(cut <= 2 + calls / 10, "{what}: {cut} of {calls} calls were cut");
        result
    }
}

/// Raises the limit on open files: the default is too low for thousands of connections.
fn more_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// A client that opens streams and leaves them open.
struct Client {
    requests: SendRequest<Bytes>,
    pings: h2::PingPong,
    authorization: Option<String>,
}

/// An open stream without its message.
type Open = (ResponseFuture, SendStream<Bytes>);

impl Client {
    async fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (requests, mut connection) = handshake(stream).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        Self { requests, pings, authorization: None }
    }

    async fn open(&mut self, method: &str) -> Result<Open, h2::Error> {
        let uri = format!("http://localhost/{method}");
        let mut request = Request::post(uri).header("content-type", "application/grpc");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.requests.clone().ready().await?.send_request(request.body(()).unwrap(), false)
    }

    /// Sends a complete call.
    async fn call(&mut self, rpc: Rpc) -> Open {
        let (response, mut stream) = self.open(rpc.name).await.unwrap();
        stream.send_data(message(rpc, "fresh"), true).unwrap();
        (response, stream)
    }

    /// Makes a call with a made-up name wherever there can be one, and waits for its end.
    async fn invent(&self, method: &str) {
        let (trace, span) = (fastrand::u128(1..), fastrand::u64(1..));
        let request = Request::post(format!("http://localhost/{method}"))
            .header("content-type", "application/grpc")
            .header("user-agent", made_up(2000))
            .header("authorization", format!("Bearer {}", made_up(2000)))
            .header("traceparent", format!("00-{trace:032x}-{span:016x}-01"))
            .header("tracestate", format!("{}={}", made_up(100), made_up(200)))
            .header("baggage", format!("{}={}", made_up(100), made_up(2000)))
            .header(made_up(100), made_up(2000))
            .body(())
            .unwrap();
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (response, mut stream) = requests.send_request(request, false).unwrap();
        // A method that is not served is answered before its message arrives.
        let _ = stream.send_data(message(Rpc::CREATE, &made_up(100)), true);
        let mut body = response.await.unwrap().into_body();
        while body.data().await.is_some() {}
    }

    /// Opens `count` streams, and resets them once the server has read them.
    async fn open_and_reset(&mut self, count: u32) -> Result<(), h2::Error> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(self.open(CREATE).await?);
        }
        self.pings.ping(Ping::opaque()).await?;
        for (_, mut stream) in streams {
            stream.send_reset(Reason::CANCEL);
        }
        Ok(())
    }
}

/// Returns a request of this RPC as gRPC frames it.
fn message(rpc: Rpc, member_id: &str) -> Bytes {
    let message = (rpc.encoded)((rpc.request)(member_id));
    let mut data = vec![0];
    data.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    data.extend(message);
    data.into()
}

/// Returns a name that nobody has used before.
fn made_up(length: usize) -> String {
    (0..length).map(|_| fastrand::lowercase()).collect()
}

/// Starts a Stytch that knows the member `fresh`, and otherwise makes up errors.
async fn inventive_stytch() -> Peer {
    Peer::start(|mut connection| async move {
        while let Some(request) = connection.next().await {
            let answer = match request.json()["member_id"] == "fresh" {
                true => peer::json(200, Rpc::CREATE.answer),
                false => {
                    let status = fastrand::choice([400, 403, 404, 409, 418, 422, 428, 451]);
                    let (error_type, id) = (made_up(100), made_up(100));
                    let error = json!({"error_type": error_type, "request_id": id});
                    peer::json(status.unwrap(), &error.to_string())
                }
            };
            connection.send(answer).await;
        }
    })
    .await
}

/// Makes this many calls with made-up names.
async fn invent(victim: &Victim, calls: usize) {
    const BATCH: usize = 40;
    let client = victim.h2().await;
    for _ in 0..calls / BATCH {
        let batch = (0..BATCH).map(async |number| match number % 4 {
            0 => client.invent(&format!("{}/{}", made_up(1500), made_up(1500))).await,
            1 => client.invent(&format!("{CREATE}{}", made_up(3000))).await,
            _ => client.invent(CREATE).await,
        });
        join_all(batch).await;
    }
}

/// Reads until the peer closes the connection.
async fn closed(mut stream: TcpStream) {
    let mut read = Vec::new();
    let reading = stream.read_to_end(&mut read);
    let _ = timeout(PATIENCE, reading).await.expect("the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_stream_resets_leave_memory_bounded() {
    const EACH: u32 = 25_000;
    let victim = Victim::new(&[]).await;

    // All at once, so that they are reset before they are accepted. Each such connection is closed.
    let at_once = async {
        const BATCH: u32 = 100;
        for _ in 0..EACH / BATCH {
            let mut stream = victim.connect().await;
            let mut bytes = frames::start();
            for number in 0..BATCH {
                let id = 2 * number + 1;
                bytes.extend(frames::headers(id, CREATE));
                bytes.extend(frames::reset(id));
            }
            let _ = stream.write_all(&bytes).await;
            closed(stream).await;
        }
    };
    victim.withstands("25,000 streams reset unseen", 32 * MIB, at_once).await;

    // A few at a time, like calls whose callers go away. The connection stays open.
    let a_few = async {
        const BATCH: u32 = 10;
        let (mut connections, mut reset) = (0, 0);
        while reset < EACH {
            let mut client = victim.h2().await;
            connections += 1;
            while reset < EACH && client.open_and_reset(BATCH).await.is_ok() {
                reset += BATCH;
            }
        }
        assert!(connections < EACH / BATCH / 2, "most connections stayed open: {connections}");
    };
    victim.withstands("25,000 calls reset before their message", 32 * MIB, a_few).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections_leave_memory_bounded() {
    for (what, flags, limit) in [
        ("2,000 idle connections, 512 at a time", &[][..], 32 * MIB),
        ("2,000 idle connections at a time", &["--max-connections", "3000"], 64 * MIB),
    ] {
        let victim = Victim::new(flags).await;
        let attack = async {
            let idle = join_all((0..2_000).map(async |number| {
                let mut stream = victim.connect().await;
                if number % 2 == 0 {
                    let _ = stream.write_all(&frames::start()).await;
                }
                stream
            }))
            .await;
            for _ in 0..10 {
                victim.honest_call(&victim.channel().await).await;
            }
            drop(idle);
        };

        victim.withstands(what, limit, attack).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_of_headers_leaves_memory_bounded() {
    let victim = Victim::new(&[]).await;
    let mut bytes = frames::start();
    bytes.extend(frames::unfinished_headers(1, CREATE));
    for _ in 0..65 {
        bytes.extend(frames::more_headers(1));
    }
    assert!(bytes.len() > MIB);
    let attack = join_all((0..64).map(async |_| {
        let mut stream = victim.connect().await;
        let _ = stream.write_all(&bytes).await;
        closed(stream).await;
    }));

    victim.withstands("1 MiB of headers on each of 64 connections", 32 * MIB, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_of_garbage_leave_memory_bounded() {
    for (what, victim) in [
        ("5,000 connections of garbage", Victim::new(&[]).await),
        ("5,000 connections of garbage for TLS", Victim::with_tls().await),
    ] {
        let mut random = fastrand::Rng::with_seed(20_260_101);
        let attack = async {
            for _ in 0..50 {
                let garbage = (0..100).map(|number| {
                    let mut bytes = if number % 4 == 0 { frames::start() } else { Vec::new() };
                    bytes.extend((0..random.usize(30..3000)).map(|_| random.u8(..)));
                    bytes
                });
                join_all(garbage.collect::<Vec<_>>().into_iter().map(async |bytes| {
                    let mut stream = victim.connect().await;
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                    closed(stream).await;
                }))
                .await;
            }
        };

        victim.withstands(what, 32 * MIB, attack).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_or_evicted() {
    let victim = Victim::new(&[]).await;
    let start = frames::start();
    let with = |more: Vec<u8>| [start.clone(), more].concat();
    let beginnings = [
        Vec::new(),
        start[..10].to_vec(),
        with(vec![0, 0, 8]),
        with(frames::unfinished_headers(1, CREATE)),
        with(frames::headers(1, "grpc.health.v1.Health/Check")),
    ];
    let attack = async {
        // More connections than there are slots, each stopped midway through something.
        let slow = join_all((0..600).map(async |number| {
            let mut stream = victim.connect().await;
            let _ = stream.write_all(&beginnings[number % beginnings.len()]).await;
            stream
        }))
        .await;
        // A call with an incomplete message holds a permit, but not forever.
        let mut client = victim.h2().await;
        let (response, _stream) = client.open(CREATE).await.unwrap();
        let answer = timeout(PATIENCE, response).await.expect("a response in time").unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
        drop(slow);
    };

    // A handshake does not last forever either.
    let tls = Victim::with_tls().await;
    let handshake = async { closed(tls.connect().await).await };
    tokio::join!(victim.withstands("600 slow connections", 32 * MIB, attack), handshake);
}

#[tokio::test]
async fn connections_that_come_at_once_wait_to_be_accepted_and_are_not_reset() {
    let victim = Victim::new(&["--max-connections", "1"]).await;

    // More than the default backlog of 128. A connection beyond the backlog would not be
    // established.
    let waiting = (0..600).map(async |_| timeout(PATIENCE, victim.connect()).await);
    let waiting = join_all(waiting).await;

    assert!(waiting.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_responses_leave_memory_bounded() {
    let victim = Victim::new(&[]).await;
    let mut asking = frames::start();
    for number in 0..500 {
        asking.extend(frames::headers(2 * number + 1, "no.such.Service/Method"));
    }
    let attack = async {
        let mut silent = Vec::new();
        for _ in 0..20 {
            let mut stream = victim.connect().await;
            stream.write_all(&asking).await.unwrap();
            silent.push(stream);
        }
        victim.honest_call(&victim.channel().await).await;
    };

    victim.withstands("10,000 calls whose responses nobody reads", 64 * MIB, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_at_most_32_health_watches() {
    let victim = Victim::new(&[]).await;
    let attack = async {
        let mut watchers = Vec::new();
        for _ in 0..100 {
            let mut client = victim.h2().await;
            let mut watch = async || {
                let (response, mut stream) =
                    client.open("grpc.health.v1.Health/Watch").await.unwrap();
                // One too many is answered before its message arrives.
                let _ = stream.send_data(Bytes::from_static(&[0; 5]), true);
                response.await.unwrap()
            };
            for _ in 0..32 {
                let open = watch().await;
                assert!(!open.headers().contains_key("grpc-status"), "it is open");
                watchers.push(open);
            }
            assert_eq!(watch().await.headers()["grpc-status"], "8", "RESOURCE_EXHAUSTED");
        }
    };

    victim.withstands("3,200 health watches", 64 * MIB, attack).await;
}

/// A request that is not forwarded to Stytch, so that its connection stays unproven.
struct Noise {
    what: &'static str,
    method: &'static str,
    content_type: &'static str,
    token: Option<&'static str>,
    body: &'static [u8],
}

const NOISE: [Noise; 9] = {
    const GRPC: &str = "application/grpc";
    const EMPTY: &[u8] = &[0; 5];
    const HEALTH: Noise = Noise {
        what: "health",
        method: "grpc.health.v1.Health/Check",
        content_type: GRPC,
        token: None,
        body: EMPTY,
    };
    [
        HEALTH,
        Noise { what: "watching health", method: "grpc.health.v1.Health/Watch", ..HEALTH },
        Noise {
            what: "reflection",
            method: "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            token: Some("reader"),
            ..HEALTH
        },
        Noise { what: "unauthenticated", method: CREATE, ..HEALTH },
        Noise { what: "of an unknown method", method: "no.such.Service/Method", ..HEALTH },
        Noise { what: "not gRPC", method: CREATE, content_type: "text/plain", ..HEALTH },
        // From known callers, but refused all the same.
        Noise { what: "refused by policy", method: CREATE, token: Some("reader"), ..HEALTH },
        Noise {
            what: "malformed",
            method: CREATE,
            token: Some("login"),
            body: b"\0\0\0\0\x02\xff\xff",
            ..HEALTH
        },
        Noise { what: "invalid", method: CREATE, token: Some("login"), ..HEALTH },
    ]
};

impl Noise {
    /// Makes the request every 300 ms, and reconnects whenever its connection is closed.
    async fn repeat_forever(&self, addr: SocketAddr, tokens: &[(&str, String)]) {
        let mut pace = interval(Duration::from_millis(300));
        loop {
            let Ok(stream) = TcpStream::connect(addr).await else { continue };
            let Ok((requests, connection)) = handshake(stream).await else { continue };
            let connection = tokio::spawn(connection);
            loop {
                pace.tick().await;
                let mut request = Request::post(format!("http://localhost/{}", self.method))
                    .header("content-type", self.content_type);
                let token = tokens.iter().find(|(name, _)| Some(*name) == self.token);
                if let Some((_, token)) = token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let asked = async {
                    let mut requests = requests.clone().ready().await?;
                    let (response, mut body) =
                        requests.send_request(request.body(()).unwrap(), false)?;
                    body.send_data(Bytes::from_static(self.body), true)?;
                    response.await.map(drop)
                };
                // A connection that waits for a slot does not answer.
                let asked = timeout(Duration::from_millis(250), asked).await;
                if matches!(asked, Ok(Err(_))) || connection.is_finished() {
                    break;
                }
            }
            connection.abort();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_unproven_connections_do_not_displace_proven_callers() {
    let stytch = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let folder = Folder::new();
    let tokens = ["login", "reader"].map(|name| {
        let (token, line) = access::token_line(name);
        ((name, token.to_string()), line)
    });
    let mut command = serve(&format!("http://{}", stytch.addr), "secret");
    command
        .args(["--max-connections", "8", "--drain-delay", "0s"])
        .arg("--tokens-file")
        .arg(folder.write("tokens", &tokens.clone().map(|(_, line)| line).join("\n")))
        .arg("--callers-file")
        .arg(folder.write("callers.toml", door::POLICY));
    let tokens = tokens.map(|(token, _)| token);
    let (_server, url) = process::start(command);
    let addr: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    for noise in &NOISE {
        let good = Some(tokens[0].1.as_str());
        // A connection that does not reconnect by itself.
        let mut idle = Client::new(addr).await;
        idle.authorization = good.map(|token| format!("Bearer {token}"));
        let answered = async |client: &mut Client| {
            let (response, _stream) = client.call(Rpc::CREATE).await;
            let answer = timeout(PATIENCE, response).await.expect("in time").expect("an answer");
            assert_eq!(answer.status(), 200);
            assert!(!answer.headers().contains_key("grpc-status"), "{answer:?}");
        };
        answered(&mut idle).await;
        let attack = join_all((0..12).map(|_| noise.repeat_forever(addr, &tokens)));
        let good = async {
            for _ in 0..6 {
                let channel = crate::support::channel(&url).await;
                door::create(&channel, good).await.unwrap_or_else(|status| {
                    panic!("a good call amid {} requests: {status:?}", noise.what)
                });
            }
            answered(&mut idle).await;
        };

        tokio::select! {
            _ = attack => unreachable!("it never ends"),
            () = good => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_to_grpcs_own_services_are_not_kept() {
    let victim = Victim::new(&[]).await;
    let attack = async {
        for method in [
            "grpc.health.v1.Health/Check",
            "grpc.health.v1.Health/Watch",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            let mut clients = Vec::new();
            for _ in 0..4 {
                let mut client = victim.h2().await;
                let mut streams = Vec::new();
                for _ in 0..20 {
                    let (response, mut stream) = client.open(method).await.unwrap();
                    // Announces 4 MiB, and sends as much as the window allows.
                    let mut bytes = vec![0, 0, 64, 0, 0];
                    bytes.resize(MIB, 0);
                    let _ = stream.send_data(Bytes::from(bytes), false);
                    streams.push((response, stream));
                }
                clients.push((client, streams));
            }
            for (_, streams) in clients {
                for (response, stream) in streams {
                    let ended = async {
                        let response = response.await.ok()?;
                        let mut body = response.into_body();
                        while body.data().await.is_some() {}
                        Some(())
                    };
                    timeout(PATIENCE, ended).await.expect("it ends before its message is complete");
                    drop(stream);
                }
            }
        }
    };

    victim.withstands("240 large messages to health and reflection", 32 * MIB, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_names_methods_and_errors_add_no_series_and_leave_memory_bounded() {
    const CALLS: usize = 4_000;
    let stytch = inventive_stytch().await;
    let mut victim = Victim::in_front_of(&stytch, None, &[]).await;
    // Each way to end has a series once it has happened.
    invent(&victim, CALLS / 4).await;
    victim.before = victim.memory("VmRSS");
    let series = victim.series().await;

    let attack = invent(&victim, CALLS);
    victim.withstands("4,000 calls with made-up names", 8 * MIB, attack).await;

    assert_eq!(victim.series().await, series);
}

#[tokio::test]
async fn an_incomplete_message_of_a_stream_times_out() {
    let victim = Victim::new(&[]).await;
    let mut client = victim.h2().await;

    let (response, mut stream) =
        client.open("grpc.reflection.v1.ServerReflection/ServerReflectionInfo").await.unwrap();
    stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false).unwrap();
    let mut body = response.await.unwrap().into_body();
    let trailers = async {
        while body.data().await.is_some() {}
        body.trailers().await
    };
    let trailers = timeout(PATIENCE, trailers).await.expect("it ends in time").unwrap();

    assert!(trailers.expect("trailers").contains_key("grpc-status"));
}

#[tokio::test]
async fn calls_finish_however_many_streams_of_their_connection_are_reset() {
    // Within the allowed number, and far beyond it.
    for (good, bad) in [(100, 600), (0, 2000), (0, 200)] {
        let (mut stytch, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
        let facade = Setup::new(stytch.addr).start().await;
        let message = (Rpc::CREATE.encoded)((Rpc::CREATE.request)("fresh"));
        let mut shared = TcpStream::connect(facade.addr).await.unwrap();
        shared.write_all(&frames::start()).await.unwrap();
        let mut ids = (0..).map(|number| 2 * number + 1);
        for _ in 0..good {
            let id = ids.next().unwrap();
            let call = [frames::headers(id, CREATE), frames::message(id, &message)].concat();
            shared.write_all(&call).await.unwrap();
            stytch.request().await;
            answer.notify_one();
            while !ended(&mut shared, id).await {}
        }
        let open = ids.next().unwrap();
        let call = [frames::headers(open, CREATE), frames::message(open, &message)].concat();
        shared.write_all(&call).await.unwrap();
        stytch.request().await;

        let burst = ids.take(bad).flat_map(|id| [frames::headers(id, CREATE), frames::reset(id)]);
        shared.write_all(&burst.flatten().collect::<Vec<_>>()).await.unwrap();
        answer.notify_one();

        while !ended(&mut shared, open).await {}
    }
}

#[tokio::test]
async fn a_call_finishes_when_other_streams_open_in_one_read_and_are_reset_in_the_next() {
    // How many resets the last read of a poll can hold depends on where the reads begin.
    for count in (600..700).step_by(10) {
        let (mut stytch, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
        let mut setup = Setup::new(stytch.addr);
        setup.server.max_in_flight = 1024;
        let facade = setup.start().await;
        let message = (Rpc::CREATE.encoded)((Rpc::CREATE.request)("fresh"));
        let call = [frames::headers(1, CREATE), frames::message(1, &message)].concat();
        let mut shared = TcpStream::connect(facade.addr).await.unwrap();
        shared.write_all(&[frames::start(), call].concat()).await.unwrap();
        stytch.request().await;

        let ids = (1..=count).map(|number| 2 * number + 1);
        let burst = ids.clone().map(frames::short_headers).chain(ids.map(frames::reset));
        shared.write_all(&burst.flatten().collect::<Vec<_>>()).await.unwrap();
        answer.notify_one();

        while !ended(&mut shared, 1).await {}
    }
}

/// Reads a frame, and answers it if it is a ping. Returns whether it ends the stream, which must be
/// by trailers.
async fn ended(stream: &mut TcpStream, id: u32) -> bool {
    let frame = frames::read(stream).await.expect("the connection is open");
    if frame.kind == frames::PING && frame.flags != frames::ACK {
        stream.write_all(&frames::pong(&frame.payload)).await.unwrap();
    }
    if frame.kind == frames::GOAWAY {
        assert_eq!(frame.payload[4..8], [0; 4], "NO_ERROR");
    }
    let is_end = frame.stream == id && frame.flags & frames::END_STREAM != 0;
    assert!(!is_end || frame.kind == frames::HEADERS, "it ends with trailers");
    is_end && frame.kind != frames::DATA
}

#[tokio::test]
async fn malformed_streams_end_alone_and_calls_of_others_on_their_connection_end_well() {
    let (mut stytch, answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
    let facade = Setup::new(stytch.addr).start().await;
    let message = (Rpc::CREATE.encoded)((Rpc::CREATE.request)("fresh"));
    let mut shared = TcpStream::connect(facade.addr).await.unwrap();
    let call = [frames::start(), frames::headers(1, CREATE), frames::message(1, &message)].concat();
    shared.write_all(&call).await.unwrap();
    stytch.request().await;

    // Many more than a connection is allowed.
    for number in 1..=1000 {
        let id = 2 * number + 1;
        shared.write_all(&frames::malformed_headers(id, CREATE)).await.unwrap();
    }
    let (mut resets, mut got_goaway) = (0, false);
    while !got_goaway {
        let frame = frames::read(&mut shared).await.expect("the connection is open");
        resets += u32::from(frame.kind == frames::RST_STREAM && frame.stream > 1);
        got_goaway = frame.kind == frames::GOAWAY;
        if got_goaway {
            assert_eq!(frame.payload[4..8], [0; 4], "NO_ERROR");
        }
    }
    assert!(resets >= 50, "the first faults end only their streams: {resets}");
    answer.notify_one();
    let mut data = 0;
    let ended = loop {
        let frame = frames::read(&mut shared).await.expect("the call ends first");
        if frame.kind == frames::PING && frame.flags != frames::ACK {
            shared.write_all(&frames::pong(&frame.payload)).await.unwrap();
        }
        if frame.stream == 1 {
            data += if frame.kind == frames::DATA { frame.payload.len() } else { 0 };
            if frame.flags & frames::END_STREAM != 0 {
                break frame.kind;
            }
        }
    };
    assert_eq!((ended, data > 5), (frames::HEADERS, true), "a response with its trailers");
    while frames::read(&mut shared).await.is_some() {}
}

#[tokio::test]
async fn one_connection_gets_its_share_of_the_permits_whatever_it_resets() {
    let (mut stytch, _answer) = Peer::patient(peer::json(200, Rpc::CREATE.answer)).await;
    let mut setup = Setup::new(stytch.addr);
    setup.server.max_in_flight = 250;
    let facade = setup.start().await;
    let mut greedy = Client::new(facade.addr).await;

    // A call that was sent goes on when its stream is reset, so it keeps its permit.
    for _ in 0..125 {
        let (_, mut stream) = greedy.call(Rpc::CREATE).await;
        stytch.request().await;
        stream.send_reset(Reason::CANCEL);
    }
    let (response, _stream) = greedy.call(Rpc::CREATE).await;
    let answer = response.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "8", "RESOURCE_EXHAUSTED");

    let _other = Client::new(facade.addr).await.call(Rpc::CREATE).await;
    stytch.request().await;
}
