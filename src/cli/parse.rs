//! Arguments and variables become a [`Cli`]. What clap refuses does not hide what else is wrong.

use std::{error::Error as _, ffi::OsString};

use clap::{
    Command, CommandFactory as _, FromArgMatches as _,
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
    let command = Cli::command();
    let mut errors = Vec::new();
    loop {
        match read(&command, &args) {
            Ok(cli) if errors.is_empty() => return Ok(cli),
            Ok(cli) => return Err(Refusal::Usage { errors, rest: Some(Box::new(cli)) }),
            Err(error) if !error.use_stderr() && errors.is_empty() => {
                return Err(Refusal::Answer(error));
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
