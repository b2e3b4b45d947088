//! A long run at half load in front of the sandbox with its faults: what is held must stay flat.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    io::{BufRead as _, BufReader},
    process::Stdio,
    rc::Rc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use prost_reflect::DynamicMessage;
use serde_json::Value;
use tokio::task::spawn_local;

use crate::{
    Fallible,
    contract::Contract,
    grpc::{Connection, Reply},
    http::exchange,
    load::histogram,
    machine,
    mix::{self, Mix, Planned},
    process::{Held, held},
    server::{self, PROJECT_ID, SECRET, Server, Site},
    setup::{Programs, Setup},
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    programs: Programs,
    /// For how long to make calls.
    #[arg(default_value_t = 60.0)]
    minutes: f64,
    /// Calls per second; by default, so many that the façade is busy for half of the time.
    #[arg(long)]
    rate: Option<f64>,
}

const CONNECTIONS: usize = 8;
/// How often a connection is cut, with what is under way on it.
const CUT_EVERY: Duration = Duration::from_secs(20);
/// After this time without calls, every idle timeout has passed.
const IDLE: Duration = Duration::from_secs(75);

/// Tolerated growth of memory over the run, by the slope, in MiB.
const MAX_GROWTH: f64 = 2.0;
/// Tolerated ratio of a latency in the last quarter to that in the first.
const MAX_SLOWDOWN: f64 = 1.25;
/// Tolerated share of calls that break without the caller's doing.
const MAX_BROKEN: f64 = 0.001;

/// The codes that the mix and the faults explain.
const EXPECTED: [u16; 10] = [0, 2, 3, 4, 5, 6, 8, 9, 13, 14];

pub async fn run(options: &Options) -> Fallible<()> {
    let setup = Setup::start(&options.programs).await?;
    let (facade, sandbox, log) = start(&setup.site).await?;
    let process = facade.id();
    let mut before = held(process)?;
    let soak = Soak::new(&setup, facade.addr);
    let rate = match options.rate {
        Some(rate) => rate,
        None => half_load(&soak, &facade, &sandbox).await?,
    };
    // The thread that writes audit events starts with the first of them, and stays.
    soak.calls(rate, Duration::from_secs(1)).await?;
    before.threads = held(process)?.threads;
    println!("{}", machine::description(&setup.site.facade, &setup.site.envoy));
    println!("{} minutes of {rate:.0} calls/s, in an open loop.\n", options.minutes);

    let duration = Duration::from_secs_f64(options.minutes * 60.0);
    let interval = Duration::from_secs(10).min(duration / 24);
    let (clock, start) = (facade.clock()?, Instant::now());
    let cpu = clock.now()?;
    let mut samples = Vec::new();
    soak.reset();
    while start.elapsed() < duration {
        soak.calls(rate, interval).await?;
        let sample = soak.sample(start.elapsed(), held(process)?);
        println!("{sample}");
        samples.push(sample);
    }
    let busy = (clock.now()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    soak.stop().await;
    println!(
        "\nThe façade was busy for {:.0} % of a core. Waiting until it is idle.",
        100.0 * busy
    );
    let after = idle(process, &before).await?;
    facade.stop()?;
    let log = log.join().map_err(|_| "the reader of the log panicked")?;
    let verdict = Verdict { before, after, log };
    verdict.report(&samples, &soak)
}

/// Starts the sandbox with its faults, and a façade in front of it.
async fn start(site: &Site) -> Fallible<(Server, Server, JoinHandle<Log>)> {
    let seed = site.folder.join("seed.json");
    std::fs::write(&seed, mix::seed(PROJECT_ID, SECRET).to_string())?;
    let mut command = server::pinned("1", &site.facade);
    command.args(["sandbox", "--sandbox-addr", "127.0.0.1:0", "--sandbox-control", "--seed"]);
    let sandbox = server::announced({
        command.arg(seed).stderr(Stdio::null());
        command
    })?;
    for fault in mix::faults() {
        exchange(sandbox.addr, "POST", "/sandbox/faults", &fault.to_string()).await?;
    }
    let mut command = server::facade_command(site, "0")?;
    command.env("STYTCH_BASE_URL", format!("http://{}", sandbox.addr));
    // So small that they are full before the first quarter has passed.
    command.args(["--idempotency-ttl", "20s", "--idempotency-max-bytes", "8388608"]);
    command.stderr(Stdio::piped());
    let mut facade = server::announced(command)?;
    let stderr = facade.process.stderr.take().ok_or("no log")?;
    let log = std::thread::spawn(move || Log::read(stderr));
    Ok((facade, sandbox, log))
}

/// What the façade's log says.
#[derive(Default)]
struct Log {
    panics: u64,
    /// The calls in flight when it was asked to stop.
    in_flight: Option<u64>,
}

impl Log {
    /// Reads the log to its end as it is written, so that the façade never waits for it.
    fn read(log: impl std::io::Read) -> Self {
        let mut found = Self::default();
        for line in BufReader::with_capacity(1 << 16, log).split(b'\n').map_while(Result::ok) {
            let contains = |text: &str| memchr::memmem::find(&line, text.as_bytes()).is_some();
            if contains(r#""message":"panicked""#) {
                found.panics += 1;
            } else if contains(r#""message":"draining""#) {
                let line: Value = serde_json::from_slice(&line).unwrap_or_default();
                found.in_flight = line["in_flight"].as_u64();
            }
        }
        found
    }
}

/// Finds the rate at which the façade is busy for half of the time, or what the sandbox and the
/// load can do on the other core.
async fn half_load(soak: &Soak, facade: &Server, sandbox: &Server) -> Fallible<f64> {
    let clocks = [facade.clock()?, sandbox.clock()?, crate::cpu::CpuClock::of(std::process::id())?];
    let now = || clocks.iter().map(|clock| clock.now()).collect::<Fallible<Vec<_>>>();
    let mut rate = 400.0;
    // A call costs less where there are more of them, so each trial comes closer.
    for _ in 0..3 {
        soak.calls(rate, Duration::from_secs(2)).await?;
        let (before, start) = (now()?, Instant::now());
        soak.calls(rate, Duration::from_secs(5)).await?;
        let busy = before.iter().zip(now()?).map(|(before, after)| after - *before);
        let elapsed = start.elapsed().as_secs_f64();
        let busy: Vec<_> = busy.map(|time| time.as_secs_f64() / elapsed).collect();
        rate *= (0.5 / busy[0]).min(0.8 / (busy[1] + busy[2]));
    }
    Ok(rate)
}

/// Waits until the façade holds no more descriptors than before the first call.
async fn idle(process: u32, before: &Held) -> Fallible<Held> {
    let start = Instant::now();
    loop {
        let now = held(process)?;
        if now.descriptors <= before.descriptors || start.elapsed() > IDLE {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The load: its connections, and what came of the calls.
struct Soak {
    addr: std::net::SocketAddr,
    connections: RefCell<Vec<Option<Connection>>>,
    cuts: Cell<Instant>,
    outcomes: Rc<Outcomes>,
}

/// What came of the calls so far.
struct Outcomes {
    mix: RefCell<Mix>,
    contract: Contract,
    open: Cell<u64>,
    /// By RPC and code.
    replies: RefCell<BTreeMap<(&'static str, u16), u64>>,
    abandoned: Cell<u64>,
    broken: Cell<u64>,
    cut: Cell<u64>,
    wrong: RefCell<Vec<String>>,
    latency: RefCell<Histogram<u64>>,
}

impl Soak {
    fn new(setup: &Setup, addr: std::net::SocketAddr) -> Self {
        let outcomes = Outcomes {
            mix: RefCell::new(Mix::new()),
            contract: setup.contract.clone(),
            open: Cell::default(),
            replies: RefCell::default(),
            abandoned: Cell::default(),
            broken: Cell::default(),
            cut: Cell::default(),
            wrong: RefCell::default(),
            latency: RefCell::new(histogram()),
        };
        Self {
            addr,
            connections: RefCell::new(vec![None; CONNECTIONS]),
            cuts: Cell::new(Instant::now()),
            outcomes: Rc::new(outcomes),
        }
    }

    /// Makes calls at a rate, whether or not the calls before have been answered. Latency counts
    /// from when a call was due.
    async fn calls(&self, rate: f64, time: Duration) -> Fallible<()> {
        let start = Instant::now();
        let mut made = 0_u32;
        while start.elapsed() < time {
            let due = start + Duration::from_secs_f64(f64::from(made) / rate);
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
                continue;
            }
            let connection = self.connection(made as usize % CONNECTIONS).await?;
            let call = self.outcomes.mix.borrow_mut().next(&self.outcomes.contract)?;
            spawn_local(self.outcomes.clone().make(connection, call, due));
            made += 1;
            if made.is_multiple_of(16) {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Returns a connection that is open, and cuts it from time to time.
    async fn connection(&self, index: usize) -> Fallible<Connection> {
        let open = self.connections.borrow()[index].clone().filter(|it| !it.is_closed());
        if let Some(connection) = open {
            if self.cuts.get().elapsed() < CUT_EVERY {
                return Ok(connection);
            }
            self.cuts.set(Instant::now());
            connection.cut();
        }
        let connection = Connection::open(self.addr, None).await?;
        self.connections.borrow_mut()[index] = Some(connection.clone());
        Ok(connection)
    }

    /// Forgets what came of the calls so far.
    fn reset(&self) {
        let outcomes = &self.outcomes;
        outcomes.replies.borrow_mut().clear();
        outcomes.latency.borrow_mut().reset();
        for count in [&outcomes.abandoned, &outcomes.broken, &outcomes.cut] {
            count.set(0);
        }
    }

    /// Describes the time since the last sample.
    fn sample(&self, at: Duration, held: Held) -> Sample {
        let latency = self.outcomes.latency.replace(histogram());
        Sample { at, held, open: self.outcomes.open.get(), latency }
    }

    /// Waits for the open calls, and closes all connections.
    async fn stop(&self) {
        let start = Instant::now();
        while self.outcomes.open.get() > 0 && start.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.connections.borrow_mut().iter_mut().for_each(|connection| *connection = None);
    }
}

impl Outcomes {
    async fn make(self: Rc<Self>, connection: Connection, call: Planned, due: Instant) {
        self.open.set(self.open.get() + 1);
        let mut request = connection.request(&call.path);
        let headers = request.headers_mut();
        if let Some(key) = &call.key {
            headers.insert("idempotency-key", key.parse().expect("visible ASCII"));
        }
        if let Some(deadline) = call.deadline {
            let timeout = format!("{}u", deadline.as_micros());
            headers.insert("grpc-timeout", timeout.parse().expect("visible ASCII"));
        }
        let reply = connection.call(request, call.framed.clone());
        let patience = call.gone_after.unwrap_or(Duration::from_secs(60));
        match tokio::time::timeout(patience, reply).await {
            Err(_) if call.gone_after.is_some() => add(&self.abandoned),
            Err(_) => self.wrong.borrow_mut().push(format!("{}: no response", call.rpc)),
            Ok(Err(_)) if connection.is_cut() => add(&self.cut),
            Ok(Err(_)) => {
                // The façade closes connections of some age; the next call opens another.
                connection.give_up();
                add(&self.broken);
            }
            Ok(Ok(reply)) => {
                let latency = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.latency.borrow_mut().saturating_record(latency);
                self.answered(&call, &reply);
            }
        }
        self.open.set(self.open.get() - 1);
    }

    /// Checks a response, and learns from it.
    fn answered(&self, call: &Planned, reply: &Reply) {
        *self.replies.borrow_mut().entry((call.rpc, reply.code)).or_default() += 1;
        if !EXPECTED.contains(&reply.code) {
            let text = format!("{}: code {}, {:?}", call.rpc, reply.code, reply.text);
            self.wrong.borrow_mut().push(text);
        }
        let message = (reply.code == 0).then(|| {
            let descriptor = self.contract.message(&call.response);
            DynamicMessage::decode(descriptor, reply.framed.get(5..).unwrap_or_default())
        });
        let message = message.and_then(|message| match message {
            Ok(message) if has_request_id(&message) => Some(message),
            _ => {
                self.wrong.borrow_mut().push(format!("{}: not its response", call.rpc));
                None
            }
        });
        self.mix.borrow_mut().learn(call, message.as_ref());
    }
}

fn has_request_id(message: &DynamicMessage) -> bool {
    let id = message.get_field_by_name("request_id");
    id.is_some_and(|id| id.as_str().is_some_and(|id| !id.is_empty()))
}

fn add(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

/// What was seen in a time.
struct Sample {
    at: Duration,
    held: Held,
    /// Calls of the load without a response.
    open: u64,
    latency: Histogram<u64>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { memory, descriptors, threads } = self.held;
        let micros = |quantile| self.latency.value_at_quantile(quantile) / 1_000;
        write!(
            f,
            "{:>5.0} s: {memory:.1} MiB, {descriptors} descriptors, {threads} threads, {} open; {} answers, \
             p50 {} µs, p90 {} µs, p99 {} µs",
            self.at.as_secs_f64(),
            self.open,
            self.latency.len(),
            micros(0.5),
            micros(0.9),
            micros(0.99),
        )
    }
}

/// What is left at the end.
struct Verdict {
    before: Held,
    after: Held,
    log: Log,
}

impl Verdict {
    /// Prints the summary, and fails if anything was not as it must be.
    fn report(&self, samples: &[Sample], soak: &Soak) -> Fallible<()> {
        let outcomes = &soak.outcomes;
        let replies = outcomes.replies.borrow();
        let answered: u64 = replies.values().sum();
        println!(
            "\n{answered} answers; {} abandoned by their callers, {} cut, {} broken",
            outcomes.abandoned.get(),
            outcomes.cut.get(),
            outcomes.broken.get()
        );
        for rpc in mix::rpcs() {
            let codes = replies.iter().filter(|((name, _), _)| *name == rpc);
            let codes: Vec<_> =
                codes.map(|((_, code), count)| format!("{code}: {count}")).collect();
            println!("  {rpc}, by code: {}", codes.join(", "));
        }
        let mut checks = Checks::default();
        // The first quarter fills caches, pools and stores.
        let measured = &samples[samples.len() / 4..];
        let slope = slope(measured);
        let hours = (measured[measured.len() - 1].at - measured[0].at).as_secs_f64() / 3600.0;
        checks.note(
            slope * hours <= MAX_GROWTH,
            format!("memory {:.1} MiB at the start, {:.1} MiB at the end; slope {slope:+.2} MiB/h after the first quarter", samples[0].held.memory, samples[samples.len() - 1].held.memory),
        );
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let quarter = (samples.len() / 4).max(1);
            let first = quantile_of(&samples[..quarter], quantile);
            let last = quantile_of(&samples[samples.len() - quarter..], quantile);
            let text =
                format!("{name} of the first quarter {first:.0} µs, of the last {last:.0} µs");
            // Faults decide the 99th percentile.
            checks.note(quantile > 0.95 || last <= first * MAX_SLOWDOWN, text);
        }
        let (before, after) = (&self.before, &self.after);
        checks.note(
            after.descriptors <= before.descriptors,
            format!("descriptors {} before, {} after", before.descriptors, after.descriptors),
        );
        checks.note(
            after.threads <= before.threads,
            format!("threads {} before, {} after", before.threads, after.threads),
        );
        let open = self.log.in_flight;
        checks.note(open == Some(0), format!("calls in flight after: {open:?}"));
        checks.note(self.log.panics == 0, format!("panics: {}", self.log.panics));
        let broken = outcomes.broken.get() as f64 / answered as f64;
        checks.note(broken <= MAX_BROKEN, format!("calls broken: {:.3} %", 100.0 * broken));
        let wrong = outcomes.wrong.borrow();
        checks.note(
            wrong.is_empty(),
            format!("unexpected: {} {:?}", wrong.len(), wrong.iter().take(5).collect::<Vec<_>>()),
        );
        let succeeded = mix::rpcs().all(|rpc| replies.contains_key(&(rpc, 0)));
        checks.note(succeeded, "every RPC succeeded".to_owned());
        checks.end()
    }
}

/// What must hold, and whether all of it did.
#[derive(Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    fn note(&mut self, holds: bool, what: String) {
        println!("{} {what}", if holds { "ok  " } else { "FAIL" });
        self.failed += usize::from(!holds);
    }

    fn end(self) -> Fallible<()> {
        match self.failed {
            0 => {
                println!("PASS");
                Ok(())
            }
            failed => Err(format!("FAIL: {failed} of the above").into()),
        }
    }
}

/// The slope of memory by least squares, in MiB per hour.
fn slope(samples: &[Sample]) -> f64 {
    let points = || samples.iter().map(|it| (it.at.as_secs_f64() / 3600.0, it.held.memory));
    let count = samples.len() as f64;
    let (x, y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let (above, below) = points().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
    });
    above / below
}

/// A quantile of the latency in several samples, in microseconds.
fn quantile_of(samples: &[Sample], quantile: f64) -> f64 {
    let mut all = histogram();
    for sample in samples {
        all.add(&sample.latency).expect("the same bounds");
    }
    all.value_at_quantile(quantile) as f64 / 1e3
}
