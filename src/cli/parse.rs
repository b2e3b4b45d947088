//! Parses the arguments and variables. An argument that clap refuses does not hide other problems.

use std::{error::Error as _, ffi::OsString};

use clap::{
    Command, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Why the arguments do not make a command line `C`.
pub(super) enum Refusal<C> {
    /// The user asked for help or for the version.
    Help(clap::Error),
    /// clap refuses some of the arguments.
    Usage {
        /// One message for each refused argument; only the first includes the usage.
        errors: Vec<String>,
        /// What the other arguments make, if they are complete.
        rest: Option<Box<C>>,
    },
}

/// Parses the arguments, the first of which is the program's name.
pub(super) fn parse<C: Parser>(mut args: Vec<OsString>) -> Result<C, Refusal<C>> {
    let command = C::command();
    let mut errors = Vec::new();
    loop {
        match read(&command, &args) {
            Ok(cli) if errors.is_empty() => return Ok(cli),
            Ok(cli) => return Err(Refusal::Usage { errors, rest: Some(Box::new(cli)) }),
            Err(error) if !error.use_stderr() && errors.is_empty() => {
                return Err(Refusal::Help(error));
            }
            Err(error) => {
                let is_removed = error.use_stderr() && remove(&mut args, &error);
                if error.use_stderr() {
                    let text = text_of(&error);
                    // Only the first message includes the usage.
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

fn read<C: Parser>(command: &Command, args: &[OsString]) -> Result<C, clap::Error> {
    let mut command = command.clone();
    let matches = command.try_get_matches_from_mut(args)?;
    C::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Formats an error of clap's without values: a mistyped flag may leave a secret in a wrong place.
fn text_of(error: &clap::Error) -> String {
    let arg = arg_of(error);
    let what = match (error.kind(), arg, error.source()) {
        (ErrorKind::UnknownArgument, Some(arg), _) if !arg.starts_with('-') => {
            "unexpected argument (its text is not shown)".to_owned()
        }
        (ErrorKind::ValueValidation, Some(arg), Some(source)) => {
            format!("invalid value for '{arg}': {source}")
        }
        (ErrorKind::TooManyValues, Some(arg), _) => format!("'{arg}' takes no value"),
        _ => return error.render().to_string(),
    };
    format!("error: {what}\n\nFor more information, try '--help'.\n")
}

/// The argument that an error of clap's is about.
fn arg_of(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => Some(arg),
        _ => None,
    }
}

/// Removes the argument that an error is about. Returns whether it was found.
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
