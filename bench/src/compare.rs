//! The façade, the floor and Envoy side by side.
//!
//! Each is measured in turn, round after round, so that whatever disturbs the machine disturbs all of them.
//! The tables have medians of the rounds; ratios are those within a round.

use std::{rc::Rc, time::Duration};

use crate::{
    Fallible,
    busy::Busy,
    contract,
    load::{self, Call, Load, Measured},
    machine,
    rounds::{Figures, Options, WARM_UP},
    server::{self, Server},
    setup::{Programs, Setup},
    variants,
};

const STREAMS: [usize; 3] = [1, 32, 256];

pub async fn run(options: &Options) -> Fallible<()> {
    let busy = Busy::start()?;
    let setup = Setup::start(&options.programs).await?;
    println!("{}", machine::description(&setup.site.facade, &setup.site.envoy));
    println!(
        "Method: {} rounds of {:?} after {WARM_UP:?} of warm-up, each server in turn; one connection; \
         server on core {}, load and upstream on another; medians of the rounds, and of the ratios \
         within a round.\n",
        options.rounds(),
        options.window(),
        options.cores,
    );
    side_by_side(&setup, options).await?;
    variants::run(&setup, options).await?;
    variants::start_up(&setup, options).await?;
    busy.report()
}

/// Serves all three until they are stopped, for load generators of others.
pub async fn serve(programs: &Programs) -> Fallible<()> {
    let setup = Setup::start(programs).await?;
    let request = setup.site.folder.join("request.bin");
    std::fs::write(&request, setup.create()?.framed)?;
    println!("POST {} to http://ADDRESS{}", request.display(), contract::CREATE);
    let servers = servers(&setup, "0")?;
    for (name, server) in &servers {
        println!("{name} listening on {}", server.addr);
    }
    Ok(tokio::signal::ctrl_c().await?)
}

fn servers(setup: &Setup, cores: &str) -> Fallible<[(&'static str, Server); 3]> {
    let site = &setup.site;
    Ok([
        ("floor", server::announced(server::floor_command(site, cores)?)?),
        ("façade", server::announced(server::facade_command(site, cores)?)?),
        ("Envoy", server::envoy(site, cores, &setup.contract)?),
    ])
}

/// Measures the three servers, and prints a table for each number of streams.
async fn side_by_side(setup: &Setup, options: &Options) -> Fallible<()> {
    let call = Rc::new(setup.create()?);
    let subjects = servers(setup, &options.cores)?;
    let mut sent_by_facade = 0;
    for streams in STREAMS {
        let mut series = vec![Vec::new(); subjects.len()];
        for _ in 0..options.rounds() {
            for ((name, server), series) in subjects.iter().zip(&mut series) {
                let before = setup.answered.get();
                let measured = measure(server, streams, options.window(), &call).await;
                series.push(Figures::of(&measured.map_err(|error| format!("{name}: {error}"))?));
                if *name == "façade" {
                    sent_by_facade += setup.answered.get() - before;
                }
            }
        }
        println!("{streams} streams");
        Figures::print(&subjects.each_ref().map(|(name, _)| *name), &series);
    }
    let events = setup.audit_events()?;
    println!("The façade's audit trail has {events} events of {sent_by_facade} calls.\n");
    match events == sent_by_facade {
        true => Ok(()),
        false => Err("the audit trail is not complete".into()),
    }
}

async fn measure(
    server: &Server,
    streams: usize,
    window: Duration,
    call: &Rc<Call>,
) -> Fallible<Measured> {
    let load =
        Load { server: server.addr, tls: None, connections: 1, streams, warm_up: WARM_UP, window };
    load::run(&load, call, server.clock()?).await
}
