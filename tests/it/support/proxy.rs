//! A TCP proxy that delays, cuts, resets and holds connections, as networks do.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::sleep,
};

/// A proxy in front of one address.
pub struct Proxy {
    pub addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    upstream: Mutex<SocketAddr>,
    holding: AtomicBool,
    holding_back: AtomicBool,
    held: Notify,
    faults: AtomicUsize,
    connections: AtomicU64,
}

/// What happens to one direction of a connection.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// The number of bytes after which it ends, if any.
    ends_after: Option<usize>,
    /// Whether it ends with RST rather than FIN.
    reset: bool,
    /// The delay of each chunk.
    delay: Duration,
}

const KIND: Fate = Fate { ends_after: None, reset: false, delay: Duration::ZERO };

impl Proxy {
    /// Starts a proxy that forwards everything.
    pub async fn to(upstream: SocketAddr) -> Self {
        Self::start(upstream, |_| [KIND; 2]).await
    }

    /// Starts a proxy that delays, cuts and resets connections at points that `seed` determines:
    /// each direction ends with the probability `chance`, after fewer than `within` bytes.
    pub async fn faulty(upstream: SocketAddr, seed: u64, chance: f64, within: usize) -> Self {
        Self::start(upstream, move |number| {
            let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) ^ number);
            [(); 2].map(|()| Fate {
                ends_after: random.random_bool(chance).then(|| random.random_range(0..within)),
                reset: random.random_bool(0.5),
                delay: Duration::from_millis(if random.random_bool(0.1) {
                    random.random_range(1..20)
                } else {
                    0
                }),
            })
        })
        .await
    }

    async fn start(
        upstream: SocketAddr,
        fates: impl Fn(u64) -> [Fate; 2] + Send + 'static,
    ) -> Self {
        let listener = super::listener().await;
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream: Mutex::new(upstream),
            holding: AtomicBool::default(),
            holding_back: AtomicBool::default(),
            held: Notify::default(),
            faults: AtomicUsize::default(),
            connections: AtomicU64::default(),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let fates = fates(shared.connections.fetch_add(1, Ordering::SeqCst));
                let upstream = *shared.upstream.lock().unwrap();
                tokio::spawn(connection(client, upstream, fates, Arc::clone(&shared)));
            }
        });
        Self { addr, state }
    }

    /// Connects new connections to another upstream, as the address of a service may. Open ones
    /// stay.
    pub fn redirect(&self, upstream: SocketAddr) {
        *self.state.upstream.lock().unwrap() = upstream;
    }

    /// Stops forwarding to the upstream.
    pub fn hold(&self) {
        self.state.holding.store(true, Ordering::SeqCst);
    }

    /// Stops forwarding from the upstream.
    pub fn hold_back(&self) {
        self.state.holding_back.store(true, Ordering::SeqCst);
    }

    /// Waits until it has received something that it does not forward to the upstream.
    pub async fn held(&self) {
        tokio::time::timeout(super::PATIENCE, self.state.held.notified()).await.unwrap();
    }

    /// Returns the number of connections that it has ended.
    pub fn faults(&self) -> usize {
        self.state.faults.load(Ordering::SeqCst)
    }
}

async fn connection(
    client: TcpStream,
    upstream: SocketAddr,
    [there, back]: [Fate; 2],
    state: Arc<State>,
) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if there.ends_after.is_some() && there.reset || back.ends_after.is_some() && back.reset {
        // Takes effect when the sockets are dropped.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, there, &state, true) => {}
        () = pass(from_server, to_client, back, &state, false) => {}
    }
}

/// Forwards bytes until the direction ends.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fate: Fate,
    state: &State,
    upward: bool,
) {
    let mut left = fate.ends_after.unwrap_or(usize::MAX);
    let mut buffer = [0; 4096];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if upward && state.holding.load(Ordering::SeqCst) {
            state.held.notify_one();
            std::future::pending::<()>().await;
        }
        if !upward && state.holding_back.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if fate.delay > Duration::ZERO {
            sleep(fate.delay).await;
        }
        let passed = length.min(left);
        left -= passed;
        if to.write_all(&buffer[..passed]).await.is_err() {
            return;
        }
        if left == 0 {
            state.faults.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
}
