//! `man`: prints the man pages.

use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::{
    Cli,
    failure::Failure,
    output::{print_bytes, write_file},
};

/// Prints the page of the program, or writes its page and those of all subcommands into a folder.
pub(super) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let mut command = Cli::command();
    let Some(dir) = dir else { return print_bytes(&page(&command)?) };
    // Names each subcommand by its whole path, and passes on what is the same for all.
    command.build();
    pages(&command, dir)
}

fn pages(command: &Command, dir: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    write_file(&dir.join(format!("{name}.1")), page(command)?)?;
    let subcommands = command.get_subcommands().filter(|it| it.get_name() != "help");
    subcommands.into_iter().try_for_each(|it| pages(it, dir))
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).map_err(|error| Failure::run(&error))?;
    Ok(page)
}
