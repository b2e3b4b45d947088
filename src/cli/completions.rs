//! `completions`: prints what a shell completes the command line with.

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Cli, failure::Failure, output::print};

pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    generate(shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // clap_complete 4.6 escapes the hyphen of the name in two ways (clap-rs/clap#6421).
        Shell::Bash => script = script.replace("totp__subcmd__facade", "totp__facade"),
        Shell::Fish => script += &fish_arguments(&command),
        _ => {}
    }
    print(&script)
}

/// Returns what fish completes the arguments of subcommands with. clap_complete 4.6 leaves them to
/// file names, also where there are few values.
fn fish_arguments(program: &Command) -> String {
    let mut script = String::new();
    for subcommand in program.get_subcommands() {
        for argument in subcommand.get_positionals() {
            let values = argument.get_possible_values();
            let values: Vec<_> = values.iter().map(|value| value.get_name()).collect();
            if !values.is_empty() {
                let (name, values) = (subcommand.get_name(), values.join(" "));
                let when = format!("__fish_totp_facade_using_subcommand {name}");
                script += &format!("complete -c totp-facade -n \"{when}\" -f -a \"{values}\"\n");
            }
        }
    }
    script
}
