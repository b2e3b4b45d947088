//! `man`: prints the man pages.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::{
    Cli, exit,
    failure::Failure,
    output::{print_bytes, write_file},
};

/// Prints the page of the program, or writes its page and those of all subcommands into a folder.
pub(super) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let mut command = Cli::command();
    let Some(dir) = dir else { return print_bytes(&page(&command, &see_also(&command))?) };
    // Names each subcommand by its whole path, and passes on what is the same for all.
    command.build();
    write_file(&file(command.get_name(), dir), page(&command, &see_also(&command))?)?;
    subcommands(&command).try_for_each(|it| pages(it, command.get_name(), dir))
}

/// Writes the pages of a subcommand and of those below it. Each refers to the page above it.
fn pages(command: &Command, above: &str, dir: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    write_file(&file(name, dir), page(command, &[above.to_owned()])?)?;
    subcommands(command).try_for_each(|it| pages(it, name, dir))
}

fn file(name: &str, dir: &Path) -> PathBuf {
    dir.join(format!("{name}.1"))
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| it.get_name() != "help")
}

/// Returns the names of the pages that the page of the program refers to.
fn see_also(program: &Command) -> Vec<String> {
    subcommands(program).map(|it| format!("{}-{}", program.get_name(), it.get_name())).collect()
}

fn page(command: &Command, see_also: &[String]) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).map_err(|error| Failure::run(&error))?;
    page.extend_from_slice(exit_status().as_bytes());
    let see_also: Vec<_> =
        see_also.iter().map(|page| format!("\\fB{}\\fR(1)", escaped(page))).collect();
    page.extend_from_slice(format!(".SH \"SEE ALSO\"\n{}\n", see_also.join(",\n")).as_bytes());
    Ok(page)
}

fn exit_status() -> String {
    let code =
        |(code, meaning): &(u8, &str)| format!(".TP\n\\fB{code}\\fR\n{}\n", escaped(meaning));
    exit::CODES.iter().fold(".SH \"EXIT STATUS\"\n".to_owned(), |text, it| text + &code(it))
}

/// Returns a text as roff writes it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
