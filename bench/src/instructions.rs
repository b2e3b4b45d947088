//! Instructions that the façade needs for a Create.
//!
//! They hardly depend on what else the machine does, so a committed figure can be held against them. Each
//! count is a difference between two runs under callgrind, one with twice the calls, so that
//! neither start-up nor the end is in it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::Deserialize;

use crate::{
    Fallible,
    callgrind::{self, Instructions},
    load::{self, Load},
    server::{self, Site},
    setup::{Programs, Setup},
    table,
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    programs: Programs,
    /// The committed figures.
    #[arg(long, default_value = "bench/instructions.toml")]
    figures: PathBuf,
    /// Also lists this many functions, the costliest first.
    #[arg(long, default_value_t = 0)]
    functions: usize,
    /// Writes the figures instead of comparing with them.
    #[arg(long)]
    update: bool,
    /// Also counts the floor.
    #[arg(long)]
    floor: bool,
}

/// The committed figures.
#[derive(Deserialize)]
struct Figures {
    /// Tolerated difference, in percent.
    tolerance: f64,
    /// One call at a time.
    sequential: i64,
    /// 32 calls at a time.
    concurrent: i64,
}

const CALLS: u64 = 400;

/// Makes the command of a server.
type Start = fn(&Site, &str) -> Fallible<Command>;

pub async fn run(options: &Options) -> Fallible<()> {
    let setup = Setup::start(&options.programs).await?;
    let sequential = count(&setup, server::facade_command, 1).await?;
    let concurrent = count(&setup, server::facade_command, 32).await?;
    let floor = match options.floor {
        true => Some(count(&setup, server::floor_command, 1).await?),
        false => None,
    };
    let totals = [&sequential, &concurrent].map(|it| it.values().sum::<i64>());

    println!("User instructions for a Create, of {CALLS} calls on one connection.\n");
    let parts = callgrind::by_part(&sequential).into_iter().zip(callgrind::by_part(&concurrent));
    let mut rows: Vec<_> = parts
        .map(|((part, one), (_, many))| vec![part.to_owned(), thousand(one), thousand(many)])
        .collect();
    rows.push(vec!["**all**".to_owned(), thousand(totals[0]), thousand(totals[1])]);
    let mut columns = vec!["thousand instructions", "1 stream", "32 streams"];
    if let Some(floor) = floor {
        columns.push("floor, 1 stream");
        let parts = callgrind::by_part(&floor).into_iter().map(|(_, count)| count);
        for (row, count) in rows.iter_mut().zip(parts.chain([floor.values().sum()])) {
            row.push(thousand(count));
        }
    }
    table::print(&columns, &rows);
    list_functions(&sequential, options.functions);
    match options.update {
        true => update(&options.figures, totals),
        false => compare(&options.figures, totals),
    }
}

/// Prints the costliest functions of a call, with the parts that they are counted in.
fn list_functions(instructions: &Instructions, limit: usize) {
    let mut functions: Vec<_> = instructions.iter().collect();
    functions.sort_by_key(|(_, count)| -**count);
    for (function, count) in functions.into_iter().take(limit) {
        println!("{count:>7}  {}: {function}", callgrind::part(function));
    }
}

fn thousand(count: i64) -> String {
    format!("{:.1}", count as f64 / 1e3)
}

/// Counts the instructions of a call, by function.
async fn count(setup: &Setup, start: Start, streams: usize) -> Fallible<Instructions> {
    let once = of_calls(setup, start, streams, CALLS).await?;
    let mut difference = of_calls(setup, start, streams, 2 * CALLS).await?;
    for (function, count) in once {
        *difference.entry(function).or_default() -= count;
    }
    difference.values_mut().for_each(|count| *count /= CALLS as i64);
    Ok(difference)
}

/// Runs a server under callgrind for this many calls.
async fn of_calls(
    setup: &Setup,
    start: Start,
    streams: usize,
    calls: u64,
) -> Fallible<Instructions> {
    let output = setup.site.folder.join("callgrind.out");
    let mut command = under_callgrind(&start(&setup.site, "0")?, &output);
    command.stderr(server::log(&setup.site, "counted")?);
    let server = server::announced(command)?;
    let load = Load {
        server: server.addr,
        tls: None,
        connections: 1,
        streams,
        warm_up: Duration::ZERO,
        window: Duration::ZERO,
    };
    load::exactly(&load, &setup.create()?, calls).await?;
    server.stop()?;
    callgrind::read(&output)
}

/// Returns a command that runs under callgrind, with one worker thread.
fn under_callgrind(command: &Command, output: &Path) -> Command {
    let mut run = Command::new("valgrind");
    run.args(["--tool=callgrind", "--quiet", "--compress-strings=yes"]);
    run.arg(format!("--callgrind-out-file={}", output.display()));
    // `command` is `taskset --cpu-list CORES PROGRAM …`.
    run.args(command.get_args().skip(2));
    for (name, value) in command.get_envs() {
        run.env(name, value.unwrap_or_default());
    }
    run.env("TOTP_FACADE_WORKER_THREADS", "1");
    run
}

/// Holds the counts against the committed figures.
fn compare(path: &Path, [sequential, concurrent]: [i64; 2]) -> Fallible<()> {
    let figures: Figures = toml::from_str(&std::fs::read_to_string(path)?)?;
    let mut is_within = true;
    for (name, counted, committed) in [
        ("sequential", sequential, figures.sequential),
        ("concurrent", concurrent, figures.concurrent),
    ] {
        let percent = 100.0 * (counted - committed) as f64 / committed as f64;
        println!("{name}: {counted}, committed {committed}: {percent:+.1} %");
        is_within &= percent.abs() <= figures.tolerance;
    }
    match is_within {
        true => Ok(()),
        false => Err(format!(
            "more than {} % from {}. If that is meant, run `just instructions --update` and say why in the commit.",
            figures.tolerance,
            path.display()
        )
        .into()),
    }
}

fn update(path: &Path, [sequential, concurrent]: [i64; 2]) -> Fallible<()> {
    let text = format!(
        "# User instructions of the façade for a Create, which CI holds it to: `just instructions`.\n\
         # `just instructions --update` writes this file.\n\
         \n\
         # Percent.\n\
         tolerance = 3\n\
         # One call at a time.\n\
         sequential = {sequential}\n\
         # 32 calls at a time.\n\
         concurrent = {concurrent}\n"
    );
    Ok(std::fs::write(path, text)?)
}
