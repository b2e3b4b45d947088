//! The command line: subcommands that serve, subcommands that call, and the exit code of each.

mod certificate;
mod code;
mod completions;
mod connect;
mod console;
mod contract;
mod exit;
mod failure;
mod healthcheck;
mod hints;
mod listen;
mod man;
mod output;
mod parse;
mod permissions;
mod program;
mod qr;
mod request;
mod rpc;
mod runtime;
mod serve;
mod service_manager;
mod shell;
mod signals;
mod top;
mod verify;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    access,
    config::{self, Config, DevConfig, LogConfig, Problem, SandboxConfig, Unchecked},
    telemetry::{self, Filter},
};
pub use exit::table as exit_codes;
use failure::Failure;
use output::{print, say};
use parse::Refusal;

/// A gRPC façade in front of Stytch's B2B TOTP API
#[derive(Debug, Parser)]
#[command(
    name = "totp-facade",
    version,
    max_term_width = 100,
    after_help = config::secrets_help()
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: Unchecked<LogConfig>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the façade in front of Stytch
    Serve(Unchecked<Config>),
    /// Serves the façade in front of an embedded sandbox of Stytch; needs no account
    Dev(Unchecked<DevConfig>),
    /// Serves the sandbox alone, for any official Stytch SDK
    Sandbox(Unchecked<SandboxConfig>),
    /// Checks the settings that `serve` would use, and prints them without secrets
    Check(Unchecked<Config>),
    #[command(flatten)]
    Rpc(rpc::RpcCommand),
    /// Prints the code that an authenticator app shows now, for the secret on standard input: the
    /// response of `create`, the secret in base32, or an otpauth:// URI
    Code,
    /// Creates a bearer token for a caller, and its line for TOTP_FACADE_TOKENS_FILE
    Token {
        /// The name of the caller, as in `token:NAME` of the policy
        name: String,
    },
    /// Serves a page on loopback, to try every call of a running façade in a browser
    Console(console::ConsoleArgs),
    /// Prints the contract for gateways and code generators: a descriptor set, or the .proto files
    Contract(contract::ContractArgs),
    /// Prints the completions of a shell
    Completions {
        /// The shell that reads them
        shell: clap_complete::Shell,
    },
    /// Prints the man page of the program, or writes one for it and for each subcommand
    Man {
        /// The folder to write the pages to; it is created
        dir: Option<PathBuf>,
    },
    /// Asks a running façade whether it serves; exits with 0 if it does
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Compares the sandbox with Stytch itself, by a member made for it in a test project
    Verify(verify::VerifyArgs),
    /// Shows what a running façade does, live in the terminal, from its admin port
    Top(top::TopArgs),
}

/// Runs the program with these arguments, its name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse::parse::<Cli>(args.into_iter().collect()) {
        Ok(cli) => cli,
        Err(refusal) => return refuse(refusal),
    };
    match cli.log.check() {
        Ok(log) => {
            let quiet = cli.command.quiet_filter().filter(|_| log.is_default);
            telemetry::init(log.format, quiet.unwrap_or(log.filter), log.audit_write);
        }
        Err(_) => return end(Err(cli.problems().into())),
    }
    end(run(cli.command, &cli.log))
}

impl Cli {
    /// Returns every problem with the settings, those of the logs included.
    fn problems(&self) -> Vec<Problem> {
        [self.log.problems(), self.command.problems()].concat()
    }
}

/// Reports why the arguments are refused, and every other problem.
fn refuse(refusal: Refusal<Cli>) -> ExitCode {
    match refusal {
        Refusal::Help(text) => {
            let _ = text.print();
            ExitCode::SUCCESS
        }
        Refusal::Usage { errors, rest } => {
            for error in errors {
                say(&error.to_string());
            }
            end(Err(rest.map_or_else(Vec::new, |cli| cli.problems()).into()));
            ExitCode::from(exit::USAGE)
        }
    }
}

impl Command {
    /// Returns what is logged unless the user says it, if that is not the usual. The façades of
    /// `verify` serve nobody else, and the report says of every call what became of it.
    fn quiet_filter(&self) -> Option<Filter> {
        match self {
            Self::Verify(_) => telemetry::filter("error,audit=off").ok(),
            _ => None,
        }
    }

    /// Returns every problem with the settings of the subcommand.
    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Serve(settings) | Self::Check(settings) => settings.problems(),
            Self::Dev(settings) => settings.problems(),
            Self::Sandbox(settings) => settings.problems(),
            Self::Verify(args) => args.problems(),
            Self::Rpc(_)
            | Self::Code
            | Self::Console(_)
            | Self::Contract(_)
            | Self::Completions { .. }
            | Self::Man { .. }
            | Self::Token { .. }
            | Self::Healthcheck(_)
            | Self::Top(_) => Vec::new(),
        }
    }
}

fn run(command: Command, log: &Unchecked<LogConfig>) -> Result<(), Failure> {
    match command {
        Command::Serve(settings) => serve::serve(settings.check()?),
        Command::Dev(settings) => serve::dev(settings.check()?),
        Command::Sandbox(settings) => serve::sandbox(settings.check()?),
        Command::Check(settings) => check(&settings, log),
        Command::Rpc(call) => call.run(),
        Command::Code => code::code(),
        Command::Token { name } => token(&name),
        Command::Console(args) => console::console(&args),
        Command::Contract(args) => contract::contract(&args),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { dir } => man::man(dir.as_deref()),
        Command::Healthcheck(args) => healthcheck::healthcheck(args),
        Command::Verify(args) => verify::verify(&args),
        Command::Top(args) => top::top(&args),
    }
}

/// Prints the effective settings, who may call what, and what has no effect.
fn check(settings: &Unchecked<Config>, log: &Unchecked<LogConfig>) -> Result<(), Failure> {
    let (config, settings) = settings.check_and_summarize()?;
    let (_, log) = log.check_and_summarize()?;
    let ignored: String = config.ignored.iter().map(|what| format!("{what}.\n")).collect();
    print(&format!("{settings}{log}\n{}{ignored}", config.callers()))
}

/// Reports why a subcommand failed, writes what is left of logs and audit trail, and returns the
/// exit code.
fn end(result: Result<(), Failure>) -> ExitCode {
    let code = match result {
        Ok(()) => None,
        Err(Failure::Settings(problems)) => {
            for problem in problems {
                say(&format!("error: {problem}\n"));
            }
            Some(exit::USAGE)
        }
        Err(Failure::Run(what)) => {
            say(&format!("error: {what}\n"));
            Some(exit::FAILURE)
        }
    };
    match (code, telemetry::flush()) {
        (Some(code), _) => code.into(),
        (None, true) => ExitCode::SUCCESS,
        // Nobody reads standard error, so nothing can be said.
        (None, false) => exit::FAILURE.into(),
    }
}

/// Prints a new token for the caller, and its line for the server. The token is stored nowhere.
fn token(name: &str) -> Result<(), Failure> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage("NAME", "must be visible ASCII without blanks"));
    }
    let (token, line) = access::token_line(name);
    print(&format!("token: {}\nline: {line}\n", *token))
}
