//! Arguments and variables become a [`Cli`]. What clap refuses does not hide what else is wrong.

use std::{
    any::TypeId,
    collections::BTreeSet,
    env,
    error::Error as _,
    ffi::{OsStr, OsString},
};

use clap::{
    Arg, Command, CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Cli;

/// Why there is no [`Cli`].
pub(super) enum Refusal {
    /// Help or the version, which somebody asked for.
    Answer(clap::Error),
    /// Arguments that clap does not take.
    Usage {
        /// What it says of each; the first with the usage.
        errors: Vec<String>,
        /// The others, if they make sense without them.
        rest: Option<Box<Cli>>,
    },
}

/// Reads the arguments, the program's name first.
pub(super) fn parse(mut args: Vec<OsString>) -> Result<Cli, Refusal> {
    // A variable that is empty counts as not set, whatever it is for.
    let mut command = without_variables(Cli::command(), |_, value| value.is_empty());
    let mut errors = Vec::new();
    loop {
        match read(&command, &args) {
            Ok(cli) if errors.is_empty() => return Ok(cli),
            Ok(cli) => return Err(Refusal::Usage { errors, rest: Some(Box::new(cli)) }),
            Err(error) if !error.use_stderr() && errors.is_empty() => {
                return Err(Refusal::Answer(error));
            }
            // clap does not say which.
            Err(error)
                if error.kind() == ErrorKind::InvalidUtf8 && !garbled(&command).is_empty() =>
            {
                let names = garbled(&command).into_iter();
                errors.extend(names.map(|name| format!("error: {name}: is not UTF-8\n")));
                command = without_variables(command, is_garbled);
            }
            Err(error) => {
                let is_removed = error.use_stderr() && remove(&mut args, &error);
                if error.use_stderr() {
                    let text = text_of(&error);
                    // The usage once is enough.
                    let short = text.split("\n\nUsage").next().unwrap_or_default().to_owned();
                    errors.push(if errors.is_empty() { text } else { short + "\n" });
                }
                if !is_removed {
                    return Err(Refusal::Usage { errors, rest: None });
                }
            }
        }
    }
}

fn read(command: &Command, args: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = command.clone();
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The same without those variables that are `bad`, for this and every subcommand.
fn without_variables(command: Command, bad: fn(&Arg, &OsStr) -> bool) -> Command {
    let command = command.mut_args(|arg| match variable(&arg, bad) {
        None => arg,
        Some(name) => {
            let help = format!("{} [env: {name}]", arg.get_help().cloned().unwrap_or_default());
            arg.help(help).env(None::<&'static str>)
        }
    });
    command.mut_subcommands(|command| without_variables(command, bad))
}

/// The variable of an argument, if it is set and `bad`.
fn variable(arg: &Arg, bad: fn(&Arg, &OsStr) -> bool) -> Option<String> {
    let name = arg.get_env()?;
    env::var_os(name).filter(|value| bad(arg, value)).map(|_| name.to_string_lossy().into_owned())
}

/// Whether a variable should hold text, and does not.
fn is_garbled(arg: &Arg, value: &OsStr) -> bool {
    value.to_str().is_none() && arg.get_value_parser().type_id() == TypeId::of::<String>()
}

/// The variables of which that is so.
fn garbled(command: &Command) -> BTreeSet<String> {
    let mut names: BTreeSet<_> =
        command.get_arguments().filter_map(|arg| variable(arg, is_garbled)).collect();
    names.extend(command.get_subcommands().flat_map(garbled));
    names
}

/// What clap says, without values: a mistyped flag may have left a secret where none belongs.
fn text_of(error: &clap::Error) -> String {
    let arg = arg_of(error);
    let what = match (error.kind(), arg, error.source()) {
        (ErrorKind::UnknownArgument, Some(arg), _) if !arg.starts_with('-') => {
            "there is an argument too many (its text is not shown)".to_owned()
        }
        (ErrorKind::ValueValidation, Some(arg), Some(source)) => {
            format!("invalid value for '{arg}': {source}")
        }
        (ErrorKind::TooManyValues, Some(arg), _) => format!("'{arg}' takes no value"),
        _ => return error.render().to_string(),
    };
    format!("error: {what}\n\nFor more information, try '--help'.\n")
}

/// The argument that an error is about.
fn arg_of(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => Some(arg),
        _ => None,
    }
}

/// Takes what an error is about out of the arguments. Says whether that could be done.
fn remove(args: &mut Vec<OsString>, error: &clap::Error) -> bool {
    let flag = arg_of(error).and_then(|arg| arg.split([' ', '=', '[']).next());
    let Some(flag) = flag.filter(|flag| flag.starts_with('-')) else { return false };
    let is_it = |arg: &OsString| {
        let rest = arg.to_str().and_then(|arg| arg.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let Some(index) = args.iter().position(is_it) else { return false };
    let removed = args.remove(index);
    let is_value = |arg: &OsString| !arg.to_string_lossy().starts_with('-');
    if removed.to_str() == Some(flag) && args.get(index).is_some_and(is_value) {
        args.remove(index);
    }
    true
}
