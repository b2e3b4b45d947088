//! `completions`: prints what a shell completes the command line with.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, failure::Failure, output::print};

pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), env!("CARGO_PKG_NAME"), &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // clap_complete 4.6 escapes the hyphen of the name in two ways (clap-rs/clap#6421).
        script = script.replace("totp__subcmd__facade", "totp__facade");
    }
    print(&script)
}
