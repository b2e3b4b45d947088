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
    load::{self, Call, Load},
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
    /// One call at a time, each with a key of its own.
    keyed: i64,
}

impl Figures {
    /// Returns the counts with their names.
    fn counts(&self) -> [(&'static str, i64); 3] {
        [("sequential", self.sequential), ("concurrent", self.concurrent), ("keyed", self.keyed)]
    }
}

const CALLS: u64 = 400;

/// Makes the command of a server.
type Start = fn(&Site, &str) -> Fallible<Command>;

pub async fn run(options: &Options) -> Fallible<()> {
    let setup = Setup::start(&options.programs).await?;
    let (plain, with_key) = (setup.create()?, Call { keyed: true, ..setup.create()? });
    let sequential = count(&setup, server::facade_command, &plain, 1).await?;
    let concurrent = count(&setup, server::facade_command, &plain, 32).await?;
    let keyed = count(&setup, server::facade_command, &with_key, 1).await?;
    let floor = match options.floor {
        true => Some(count(&setup, server::floor_command, &plain, 1).await?),
        false => None,
    };

    println!("User instructions for a Create, of {CALLS} calls on one connection.\n");
    let mut columns = vec![
        ("1 stream", &sequential),
        ("32 streams", &concurrent),
        ("1 stream, with a key", &keyed),
    ];
    columns.extend(floor.as_ref().map(|floor| ("floor, 1 stream", floor)));
    print_by_part(&columns);
    list_functions(&sequential, options.functions);
    list_functions(&keyed, options.functions);
    let [sequential, concurrent, keyed] = [&sequential, &concurrent, &keyed].map(total);
    let text = std::fs::read_to_string(&options.figures)?;
    let committed: Figures = toml::from_str(&text)?;
    let counted = Figures { sequential, concurrent, keyed, ..committed };
    match options.update {
        true => update(&options.figures, &counted),
        false => compare(&options.figures, &counted, &committed),
    }
}

fn total(instructions: &Instructions) -> i64 {
    instructions.values().sum()
}

/// Prints a table of counts, each under its title.
fn print_by_part(counts: &[(&'static str, &Instructions)]) {
    let parts = callgrind::by_part(counts[0].1).into_iter().map(|(part, _)| vec![part.to_owned()]);
    let mut rows: Vec<_> = parts.chain([vec!["**all**".to_owned()]]).collect();
    let mut columns = vec!["thousand instructions"];
    for (title, instructions) in counts {
        columns.push(title);
        let parts = callgrind::by_part(instructions).into_iter().map(|(_, count)| count);
        for (row, count) in rows.iter_mut().zip(parts.chain([total(instructions)])) {
            row.push(thousand(count));
        }
    }
    table::print(&columns, &rows);
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
async fn count(setup: &Setup, start: Start, call: &Call, streams: usize) -> Fallible<Instructions> {
    let once = of_calls(setup, start, call, streams, CALLS).await?;
    let mut difference = of_calls(setup, start, call, streams, 2 * CALLS).await?;
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
    call: &Call,
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
    load::exactly(&load, call, calls).await?;
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
fn compare(path: &Path, counted: &Figures, committed: &Figures) -> Fallible<()> {
    let mut is_within = true;
    for ((name, counted), (_, figure)) in counted.counts().into_iter().zip(committed.counts()) {
        let percent = 100.0 * (counted - figure) as f64 / figure as f64;
        println!("{name}: {counted}, committed {figure}: {percent:+.1} %");
        is_within &= percent.abs() <= committed.tolerance;
    }
    match is_within {
        true => Ok(()),
        false => Err(format!(
            "more than {} % from {}. If that is meant, run `just instructions --update` and say why in the commit.",
            committed.tolerance,
            path.display()
        )
        .into()),
    }
}

fn update(path: &Path, counted: &Figures) -> Fallible<()> {
    let Figures { tolerance, sequential, concurrent, keyed } = counted;
    let text = format!(
        "# User instructions of the façade for a Create, which CI holds it to: `just instructions`.\n\
         # `just instructions --update` writes this file.\n\
         \n\
         # Percent.\n\
         tolerance = {tolerance}\n\
         # One call at a time.\n\
         sequential = {sequential}\n\
         # 32 calls at a time.\n\
         concurrent = {concurrent}\n\
         # One call at a time, each with a key of its own, in memory.\n\
         keyed = {keyed}\n"
    );
    Ok(std::fs::write(path, text)?)
}
