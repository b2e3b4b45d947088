//! Measures the façade. The recipes in the `justfile` run it; `docs/performance.md` explains it.

mod busy;
mod callgrind;
mod compare;
mod contract;
mod cpu;
mod envoy;
mod expected;
mod floor;
mod grpc;
mod http;
mod instructions;
mod load;
mod machine;
mod mix;
mod process;
mod rounds;
mod server;
mod setup;
mod soak;
mod table;
mod upstream;
mod variants;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// What a measurement can fail with: it is reported, and ends the program.
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Measures totp-facade.", version)]
enum Subject {
    /// Serves the floor.
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        upstream: SocketAddr,
        #[arg(long)]
        answer: PathBuf,
    },
    #[command(flatten)]
    Measurement(Measurement),
}

#[derive(Subcommand)]
enum Measurement {
    /// The façade, the floor and Envoy side by side.
    Compare(rounds::Options),
    /// Serves these three, for other load generators.
    Serve(setup::Programs),
    /// Half load with faults, for an hour.
    Soak(soak::Options),
    /// Instructions for a call, against the committed figure.
    Instructions(instructions::Options),
}

fn main() -> ExitCode {
    let subject = Subject::parse();
    if cfg!(debug_assertions) {
        eprintln!("built for debugging; measure with --release");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let result = tokio::task::LocalSet::new().block_on(&runtime, async {
        match subject {
            Subject::Floor { upstream, answer } => floor::serve(upstream, &answer).await,
            Subject::Measurement(Measurement::Compare(options)) => compare::run(&options).await,
            Subject::Measurement(Measurement::Serve(programs)) => compare::serve(&programs).await,
            Subject::Measurement(Measurement::Soak(options)) => soak::run(&options).await,
            Subject::Measurement(Measurement::Instructions(options)) => {
                instructions::run(&options).await
            }
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
