//! The command line: subcommands that serve, subcommands that call, and the exit code of each.

mod client;
mod code;
mod parse;
mod qr;
mod request;
mod serve;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    access,
    config::{self, Config, DevConfig, LogConfig, Problem, SandboxConfig, Unchecked},
    proto::stytch::b2b::totp::v1::{
        AuthenticateRequest, CreateRequest, DeleteRequest, MigrateRequest,
    },
    telemetry,
};
use client::{CallArgs, RecoveryCodesCommand};
use parse::Refusal;

/// A bad flag or setting, after BSD's `sysexits.h`.
const USAGE: u8 = 64;
/// Something failed at run time.
const FAILURE: u8 = 1;

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
    /// Serve the façade in front of the real Stytch
    Serve(Unchecked<Config>),
    /// Serve the façade in front of an embedded sandbox of Stytch; needs no account
    Dev(Unchecked<DevConfig>),
    /// Serve the sandbox alone, for any official Stytch SDK
    Sandbox(Unchecked<SandboxConfig>),
    /// Check the settings that `serve` would use, and print them without secrets
    Check(Unchecked<Config>),
    /// Register a TOTP for a member; prints the answer as JSON and draws the QR code on a terminal
    Create(CallArgs<CreateRequest>),
    /// Check a code of the member's authenticator app; the first one makes the TOTP active
    Authenticate(CallArgs<AuthenticateRequest>),
    /// Take over a TOTP that another provider registered
    Migrate(CallArgs<MigrateRequest>),
    /// Remove a member's TOTP and recovery codes
    Delete(CallArgs<DeleteRequest>),
    /// Get, rotate or spend recovery codes
    #[command(subcommand)]
    RecoveryCodes(RecoveryCodesCommand),
    /// Print the code that an authenticator app shows now, for the answer of `create`, a base32 secret or an
    /// otpauth:// URI on standard input
    Code,
    /// Make a bearer token for a caller, and the line for TOTP_FACADE_TOKENS_FILE
    Token {
        /// Whom it is for, as in `token:NAME` of the policy
        name: String,
    },
    /// Ask a running façade whether it serves; exits with 0 if it does
    Healthcheck(client::HealthcheckArgs),
}

/// Why a subcommand ends with another code than 0.
#[derive(Debug)]
enum Failure {
    /// Settings that cannot be used.
    Settings(Vec<Problem>),
    /// Anything else, in words.
    Run(String),
}

impl Failure {
    fn run(error: &dyn std::error::Error) -> Self {
        Self::Run(with_causes(error))
    }
}

/// An error with everything that led to it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Some errors say what their cause says.
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Settings(problems)
    }
}

fn usage(setting: &'static str, what: &dyn std::fmt::Display) -> Failure {
    Failure::Settings(vec![Problem { setting, what: what.to_string() }])
}

/// Runs the program with these arguments, its name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse::parse(args.into_iter().collect()) {
        Ok(cli) => cli,
        Err(refusal) => return refuse(refusal),
    };
    match cli.log.check() {
        Ok(log) => telemetry::init(log.format, log.filter),
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

/// Says why the arguments are refused, and what else is wrong.
fn refuse(refusal: Refusal) -> ExitCode {
    match refusal {
        Refusal::Answer(answer) => {
            let _ = answer.print();
            ExitCode::SUCCESS
        }
        Refusal::Usage { errors, rest } => {
            for error in errors {
                say(&error.to_string());
            }
            end(Err(rest.map_or_else(Vec::new, |cli| cli.problems()).into()));
            ExitCode::from(USAGE)
        }
    }
}

impl Command {
    /// Returns every problem with the settings of the subcommand.
    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Serve(settings) | Self::Check(settings) => settings.problems(),
            Self::Dev(settings) => settings.problems(),
            Self::Sandbox(settings) => settings.problems(),
            Self::Create(_)
            | Self::Authenticate(_)
            | Self::Migrate(_)
            | Self::Delete(_)
            | Self::RecoveryCodes(_)
            | Self::Code
            | Self::Token { .. }
            | Self::Healthcheck(_) => Vec::new(),
        }
    }
}

fn run(command: Command, log: &Unchecked<LogConfig>) -> Result<(), Failure> {
    match command {
        Command::Serve(settings) => serve::serve(settings.check()?),
        Command::Dev(settings) => serve::dev(settings.check()?),
        Command::Sandbox(settings) => serve::sandbox(settings.check()?),
        Command::Check(settings) => check(&settings, log),
        Command::Create(args) => client::create(args),
        Command::Authenticate(args) => client::authenticate(args),
        Command::Migrate(args) => client::migrate(args),
        Command::Delete(args) => client::delete(args),
        Command::RecoveryCodes(command) => client::recovery_codes(command),
        Command::Code => code::code(),
        Command::Token { name } => token(&name),
        Command::Healthcheck(args) => client::healthcheck(&args),
    }
}

/// Prints the effective settings, and who may call what.
fn check(settings: &Unchecked<Config>, log: &Unchecked<LogConfig>) -> Result<(), Failure> {
    let (config, settings) = settings.check_and_summarize()?;
    let (_, log) = log.check_and_summarize()?;
    print(&format!("{settings}{log}\n{}", config.callers()))
}

fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(problems)) => {
            for problem in problems {
                say(&format!("error: {problem}\n"));
            }
            ExitCode::from(USAGE)
        }
        Err(Failure::Run(what)) => {
            say(&format!("error: {what}\n"));
            ExitCode::from(FAILURE)
        }
    }
}

/// Prints a new token, for the caller, and its line, for the server; the token is nowhere else.
fn token(name: &str) -> Result<(), Failure> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(usage("NAME", &"must be visible ASCII without blanks"));
    }
    let (token, line) = access::token_line(name);
    print(&format!("token: {}\nline: {line}\n", *token))
}

/// Prints to standard output. A reader that has gone away is no failure; that an answer is lost is one.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something on standard error, if anybody can hear it.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new().map_err(|error| Failure::run(&error))
}
