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

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    access,
    config::{self, Config, Problem, Secrets, ServerArgs, UpstreamArgs},
    error_chain::with_causes,
    proto::stytch::b2b::totp::v1::{
        AuthenticateRequest, CreateRequest, DeleteRequest, MigrateRequest,
    },
    telemetry,
};
pub use client::TOKEN;
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
    after_help = "Environment variables that are no flags, for they may hold secrets: STYTCH_SECRET, the \
                  project secret; TOTP_FACADE_IDEMPOTENCY_URL, the Redis that remembers calls with an \
                  idempotency key for several replicas; TOTP_FACADE_TOKEN, the bearer token to call with."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Logs")]
struct LogArgs {
    /// Form of the log on standard error, text or json; by default text on a terminal and json elsewhere
    #[arg(long, global = true, env = LOG_FORMAT, hide_env_values = true, value_name = "FORM")]
    log_format: Option<String>,

    /// What is logged, for instance `info` or `totp_facade=debug`
    #[arg(
        long,
        global = true,
        env = LOG,
        hide_env_values = true,
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
}

const LOG_FORMAT: &str = "TOTP_FACADE_LOG_FORMAT";
const LOG: &str = "RUST_LOG";

impl LogArgs {
    /// As [`Config::summary`].
    fn summary(&self) -> String {
        let format = self.log_format.as_deref().unwrap_or("text on a terminal, else json");
        format!("{LOG_FORMAT}={format}\n{LOG}={}\n", self.log)
    }

    fn check(&self) -> Result<(Option<telemetry::Format>, telemetry::Filter), Vec<Problem>> {
        let format =
            self.log_format.as_deref().map(|text| telemetry::Format::from_str(text, false));
        let format = format.transpose().map_err(|_| {
            let what = format!(
                "{:?} is neither text nor json",
                self.log_format.as_deref().unwrap_or_default()
            );
            vec![Problem { setting: LOG_FORMAT, what }]
        });
        let filter = telemetry::filter(&self.log);
        let filter = filter.map_err(|what| vec![Problem { setting: LOG, what }]);
        config::together(format, filter)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the façade in front of the real Stytch
    Serve {
        #[command(flatten)]
        upstream: UpstreamArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Serve the façade in front of an embedded sandbox of Stytch; needs no account
    Dev(serve::DevArgs),
    /// Serve the sandbox alone, for any official Stytch SDK
    Sandbox(serve::SandboxArgs),
    /// Check the settings that `serve` would use, and print them without secrets
    Check {
        #[command(flatten)]
        upstream: UpstreamArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
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
        Ok((format, filter)) => telemetry::init(format, filter),
        Err(_) => return end(cli.check().map_err(Failure::from)),
    }
    end(run(cli.command, &cli.log))
}

impl Cli {
    /// Whether all settings can be used, those of the logs included.
    fn check(&self) -> Result<(), Vec<Problem>> {
        config::together(self.log.check().map(drop), self.command.check()).map(drop)
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
            let problems = rest.map_or(Ok(()), |cli| cli.check());
            end(problems.map_err(Failure::from));
            ExitCode::from(USAGE)
        }
    }
}

impl Command {
    /// Whether its settings can be used.
    fn check(&self) -> Result<(), Vec<Problem>> {
        match self {
            Self::Serve { upstream, server } | Self::Check { upstream, server } => {
                Config::new(upstream, Secrets::from_env(), server).map(drop)
            }
            Self::Dev(args) => args.check().map(drop),
            Self::Sandbox(args) => args.check(serve::SANDBOX_DEFAULT).map(drop),
            Self::Create(_)
            | Self::Authenticate(_)
            | Self::Migrate(_)
            | Self::Delete(_)
            | Self::RecoveryCodes(_)
            | Self::Code
            | Self::Token { .. }
            | Self::Healthcheck(_) => Ok(()),
        }
    }
}

fn run(command: Command, log: &LogArgs) -> Result<(), Failure> {
    match command {
        Command::Serve { upstream, server } => serve::serve(&upstream, &server),
        Command::Dev(args) => serve::dev(&args),
        Command::Sandbox(args) => serve::sandbox(&args),
        Command::Check { upstream, server } => {
            let config = Config::new(&upstream, Secrets::from_env(), &server)?;
            let (settings, log) = (config.summary(), log.summary());
            print(&format!("{settings}{log}\n{}", config.server.callers()))
        }
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
