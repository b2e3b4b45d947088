//! A closed loop: each of a number of streams makes its next call when the last one was answered.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{HeaderName, HeaderValue, Request};
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::{Fallible, cpu::CpuClock, expected::Expected, grpc::Connection};

/// What every call is.
pub struct Call {
    pub path: &'static str,
    /// The request, with its prefix.
    pub framed: Bytes,
    pub metadata: Vec<(HeaderName, HeaderValue)>,
    /// Whether each call has an idempotency key of its own.
    pub keyed: bool,
    pub expected: Expected,
}

/// Where calls go, and how many at a time.
pub struct Load {
    pub server: SocketAddr,
    pub tls: Option<Arc<ClientConfig>>,
    pub connections: usize,
    pub streams: usize,
    pub warm_up: Duration,
    pub window: Duration,
}

/// What was measured in the window.
pub struct Measured {
    pub calls: u64,
    pub elapsed: Duration,
    /// Processor time of the server.
    pub cpu: Duration,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
}

impl Measured {
    pub fn calls_per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }

    /// Processor time of the server for a call, in microseconds.
    pub fn cpu_per_call(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.calls as f64
    }

    /// A quantile of the latency, in microseconds.
    pub fn latency(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// What all streams share.
struct Shared {
    call: Rc<Call>,
    stop: Cell<bool>,
    latency: RefCell<Histogram<u64>>,
}

/// Makes calls until the window has passed. The first that fails ends it.
pub async fn run(load: &Load, call: &Rc<Call>, clock: CpuClock) -> Fallible<Measured> {
    let shared = Rc::new(Shared {
        call: call.clone(),
        stop: Cell::new(false),
        latency: RefCell::new(histogram()),
    });
    let mut streams = JoinSet::new();
    for index in 0..load.connections {
        let connection = Connection::open(load.server, load.tls.as_ref()).await?;
        let share =
            load.streams / load.connections + usize::from(index < load.streams % load.connections);
        for _ in 0..share {
            streams.spawn_local(stream(connection.clone(), shared.clone()));
        }
    }
    until_failure(&mut streams, load.warm_up).await?;
    shared.latency.borrow_mut().reset();
    let (start, cpu) = (Instant::now(), clock.now()?);
    until_failure(&mut streams, load.window).await?;
    let (elapsed, cpu) = (start.elapsed(), clock.now()? - cpu);
    let latency = shared.latency.borrow().clone();
    shared.stop.set(true);
    while let Some(result) = streams.join_next().await {
        result??;
    }
    Ok(Measured { calls: latency.len(), elapsed, cpu, latency })
}

/// Makes exactly `calls` calls, for counts that must not depend on time.
pub async fn exactly(load: &Load, call: &Call, calls: u64) -> Fallible<()> {
    let connection = Connection::open(load.server, load.tls.as_ref()).await?;
    let left = Cell::new(calls);
    let stream = async || -> Fallible<()> {
        let template = template(&connection, call);
        while left.get() > 0 {
            left.set(left.get() - 1);
            once(&connection, &template, call).await?;
        }
        Ok(())
    };
    let streams = (0..load.streams).map(|_| stream());
    futures_util::future::try_join_all(streams).await?;
    Ok(())
}

/// 1 µs to a minute, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("valid bounds")
}

async fn until_failure(streams: &mut JoinSet<Fallible<()>>, time: Duration) -> Fallible<()> {
    match tokio::time::timeout(time, streams.join_next()).await {
        Err(_) => Ok(()),
        Ok(Some(result)) => Err(result?.err().unwrap_or("a stream stopped early".into())),
        Ok(None) => Err("no streams".into()),
    }
}

async fn stream(connection: Connection, shared: Rc<Shared>) -> Fallible<()> {
    let template = template(&connection, &shared.call);
    while !shared.stop.get() {
        let start = Instant::now();
        once(&connection, &template, &shared.call).await?;
        let nanos = u64::try_from(start.elapsed().as_nanos())?;
        shared.latency.borrow_mut().saturating_record(nanos);
    }
    Ok(())
}

fn template(connection: &Connection, call: &Call) -> Request<()> {
    let mut request = connection.request(call.path);
    request.headers_mut().extend(call.metadata.iter().cloned());
    request
}

async fn once(connection: &Connection, template: &Request<()>, call: &Call) -> Fallible<()> {
    let mut request = template.clone();
    if call.keyed {
        request.headers_mut().insert("idempotency-key", next_key());
    }
    let reply = connection.call(request, call.framed.clone()).await?;
    Ok(call.expected.check(&reply)?)
}

/// Returns a key that no run has used before.
fn next_key() -> HeaderValue {
    thread_local! {
        static NEXT: Cell<u64> = Cell::new(
            std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64)
        );
    }
    let key = NEXT.replace(NEXT.get() + 1);
    HeaderValue::from_maybe_shared(Bytes::from(format!("bench-{key:016x}"))).expect("visible ASCII")
}
