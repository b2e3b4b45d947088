//! The command line: subcommands that serve, subcommands that call, and the exit code of each.

mod client;
mod code;
mod exit;
mod failure;
mod healthcheck;
mod output;
mod parse;
mod qr;
mod request;
mod rpc;
mod serve;

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    access,
    config::{self, Config, Problem, Secrets, ServerArgs, UpstreamArgs},
    telemetry,
};
pub use client::TOKEN;
use failure::Failure;
use output::{print, say};
use parse::Refusal;

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
    /// Serves the façade in front of Stytch
    Serve {
        #[command(flatten)]
        upstream: UpstreamArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Serves the façade in front of an embedded sandbox of Stytch; needs no account
    Dev(serve::DevArgs),
    /// Serves the sandbox alone, for any official Stytch SDK
    Sandbox(serve::SandboxArgs),
    /// Checks the settings that `serve` would use, and prints them without secrets
    Check {
        #[command(flatten)]
        upstream: UpstreamArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    #[command(flatten)]
    Rpc(rpc::Call),
    /// Prints the code that an authenticator app shows now, for the secret on standard input: the
    /// response of `create`, the secret in base32, or an otpauth:// URI
    Code,
    /// Creates a bearer token for a caller, and its line for TOTP_FACADE_TOKENS_FILE
    Token {
        /// The name of the caller, as in `token:NAME` of the policy
        name: String,
    },
    /// Asks a running façade whether it serves; exits with 0 if it does
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the program with these arguments, its name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse::parse::<Cli>(args.into_iter().collect()) {
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
    /// Checks all settings, those of the logs included.
    fn check(&self) -> Result<(), Vec<Problem>> {
        config::together(self.log.check().map(drop), self.command.check()).map(drop)
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
            let problems = rest.map_or(Ok(()), |cli| cli.check());
            end(problems.map_err(Failure::from));
            ExitCode::from(exit::USAGE)
        }
    }
}

impl Command {
    /// Checks the settings of the subcommand.
    fn check(&self) -> Result<(), Vec<Problem>> {
        match self {
            Self::Serve { upstream, server } | Self::Check { upstream, server } => {
                Config::new(upstream, Secrets::from_env(), server).map(drop)
            }
            Self::Dev(args) => args.check().map(drop),
            Self::Sandbox(args) => args.check(serve::SANDBOX_DEFAULT).map(drop),
            Self::Rpc(_) | Self::Code | Self::Token { .. } | Self::Healthcheck(_) => Ok(()),
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
        Command::Rpc(call) => call.run(),
        Command::Code => code::code(),
        Command::Token { name } => token(&name),
        Command::Healthcheck(args) => healthcheck::healthcheck(args),
    }
}

/// Reports why a subcommand failed, and returns the exit code.
fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Settings(problems)) => {
            for problem in problems {
                say(&format!("error: {problem}\n"));
            }
            ExitCode::from(exit::USAGE)
        }
        Err(Failure::Run(what)) => {
            say(&format!("error: {what}\n"));
            ExitCode::from(exit::FAILURE)
        }
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
