//! `completions`: prints what a shell completes the command line with.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, failure::Failure, output::print_bytes};

pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), env!("CARGO_PKG_NAME"), &mut script);
    print_bytes(&script)
}
