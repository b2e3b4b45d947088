//! The façade with more turned on, each against the façade as it is by default, and its start-up.

use std::{
    net::SocketAddr,
    process::Command,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, RootCertStore};
use tokio::{net::TcpListener, task::spawn_local};

use crate::{
    Fallible,
    load::{self, Call, Load},
    process::{held, worker_times},
    rounds::{Figures, Options, WARM_UP},
    server::{self, Server, Site},
    setup::Setup,
    table::{self, median},
    upstream::{self, Answer, Answered},
};

/// A façade, and the calls that are made to it.
struct Variant {
    name: &'static str,
    server: Server,
    call: Rc<Call>,
    tls: Option<Arc<ClientConfig>>,
    connections: usize,
    /// How many worker threads must be busy.
    workers: usize,
}

const STREAMS: usize = 32;

/// The least share of the busiest worker's time for which another one counts as busy.
const BUSY: f64 = 0.5;

/// Measures the variants, and prints their table.
pub async fn run(setup: &Setup, options: &Options) -> Fallible<()> {
    let (receiver, received) = receiver().await?;
    let variants = variants(setup, options, receiver)?;
    let mut series = vec![Vec::new(); variants.len()];
    for _ in 0..options.rounds() {
        for (variant, series) in variants.iter().zip(&mut series) {
            let load = Load {
                server: variant.server.addr,
                tls: variant.tls.clone(),
                connections: variant.connections,
                streams: STREAMS,
                warm_up: WARM_UP,
                window: options.window(),
            };
            let measured = load::run(&load, &variant.call, variant.server.clock()?).await;
            let measured = measured.map_err(|error| format!("{}: {error}", variant.name))?;
            series.push(Figures::of(&measured));
        }
    }
    for variant in &variants {
        let times = worker_times(variant.server.id())?;
        let busiest = times.iter().copied().max().unwrap_or_default();
        let busy = times.iter().filter(|time| time.as_secs_f64() > BUSY * busiest.as_secs_f64());
        if busy.count() != variant.workers {
            return Err(format!("{}: its workers took {times:?}", variant.name).into());
        }
    }
    println!("The façade, {STREAMS} streams, against what it is by default");
    let names: Vec<_> = variants.iter().map(|variant| variant.name).collect();
    Figures::print(&names, &series);
    match received.get() {
        0 => Err("the receiver of traces was sent none".into()),
        _ => Ok(()),
    }
}

/// Starts a receiver of traces on the current thread.
async fn receiver() -> Fallible<(SocketAddr, Answered)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (addr, received) = (listener.local_addr()?, Answered::default());
    let accepted = Answer { path: "/v1/traces", content_type: "application/x-protobuf", body: b"" };
    spawn_local(upstream::serve(listener, accepted, received.clone()));
    Ok((addr, received))
}

fn variants(setup: &Setup, options: &Options, receiver: SocketAddr) -> Fallible<Vec<Variant>> {
    let site = &setup.site;
    let start = |name, call: Call, cores: &str, add: &dyn Fn(&mut Command)| -> Fallible<Variant> {
        let mut command = server::facade_command(site, cores)?;
        add(&mut command);
        let (server, call) = (server::announced(command)?, Rc::new(call));
        Ok(Variant { name, server, call, tls: None, connections: 1, workers: 1 })
    };
    let cores = options.cores.as_str();
    let keyed = Call { keyed: true, ..setup.create()? };
    let mut with_token = setup.create()?;
    let token = with_token_files(site)?;
    with_token.metadata.push((http::header::AUTHORIZATION, format!("Bearer {token}").parse()?));
    let tls = with_certificate(site)?;
    let mut over_tls = start("TLS", setup.create()?, cores, &|command| {
        command.arg("--tls-cert-file").arg(site.folder.join("cert.pem"));
        command.arg("--tls-key-file").arg(site.folder.join("key.pem"));
    })?;
    over_tls.tls = Some(tls);
    let traced = |name, share: &str| {
        start(name, setup.create()?, cores, &|command| {
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{receiver}"))
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
                .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
                .env("OTEL_TRACES_SAMPLER_ARG", share);
        })
    };
    let two_connections = |name, cores, workers| -> Fallible<Variant> {
        let variant = start(name, setup.create()?, cores, &|_| {})?;
        Ok(Variant { connections: 2, workers, ..variant })
    };
    let mut variants = vec![
        start("by default", setup.create()?, cores, &|_| {})?,
        start("a new key for each call", keyed, cores, &|_| {})?,
        start("token and policy", with_token, cores, &|command| {
            command.arg("--tokens-file").arg(site.folder.join("tokens"));
            command.arg("--callers-file").arg(site.folder.join("callers.toml"));
        })?,
        over_tls,
        traced("traces, 1 % of the calls", "0.01")?,
        traced("traces, all calls", "1")?,
        two_connections("two connections", cores, 1)?,
        two_connections("two connections on two cores, one with the load", "0,1", 2)?,
    ];
    if let Some(baseline) = &options.baseline {
        let site = Site { facade: baseline.clone(), ..site.clone() };
        let server = server::announced(server::facade_command(&site, cores)?)?;
        let call = Rc::new(setup.create()?);
        let name = "the baseline, by default";
        let baseline = Variant { name, server, call, tls: None, connections: 1, workers: 1 };
        variants.insert(1, baseline);
    }
    Ok(variants)
}

/// Writes a file with a token and a policy for it; returns the token.
fn with_token_files(site: &Site) -> Fallible<String> {
    let output = Command::new(&site.facade).args(["token", "bench"]).output()?;
    let output = String::from_utf8(output.stdout)?;
    let line = |name| {
        let value = output.lines().find_map(|line| line.strip_prefix(name));
        value.ok_or_else(|| format!("`token` printed no {name}"))
    };
    std::fs::write(site.folder.join("tokens"), format!("{}\n", line("line: ")?))?;
    let policy = "[[caller]]\nname = \"bench\"\nidentities = [\"token:bench\"]\n\
                  methods = [\"TotpService/*\"]\norganizations = [\"example-works\"]\n";
    std::fs::write(site.folder.join("callers.toml"), policy)?;
    Ok(line("token: ")?.to_owned())
}

/// Writes a certificate and its key; returns the configuration of a client that trusts it.
fn with_certificate(site: &Site) -> Fallible<Arc<ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(site.folder.join("cert.pem"), made.cert.pem())?;
    std::fs::write(site.folder.join("key.pem"), made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

const STARTS: usize = 20;

/// Measures the time from starting a program to its first good response, and its memory then.
pub async fn start_up(setup: &Setup, options: &Options) -> Fallible<()> {
    type Start = fn(&Site, &str) -> Fallible<Command>;
    let call = setup.create()?;
    let mut rows = Vec::new();
    for (name, command) in
        [("floor", server::floor_command as Start), ("façade", server::facade_command)]
    {
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let start = Instant::now();
            let server = server::announced(command(&setup.site, &options.cores)?)?;
            let load = Load {
                server: server.addr,
                tls: None,
                connections: 1,
                streams: 1,
                warm_up: Duration::ZERO,
                window: Duration::ZERO,
            };
            load::exactly(&load, &call, 1).await?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            memory.push(held(server.id())?.memory);
            server.kill()?;
        }
        let (time, memory) = (median(times), median(memory));
        rows.push(vec![name.to_owned(), format!("{time:.1}"), format!("{memory:.1}")]);
    }
    println!("From exec to the first good response, median of {STARTS} starts");
    table::print(&["", "ms", "RSS after it, MiB"], &rows);
    Ok(())
}
