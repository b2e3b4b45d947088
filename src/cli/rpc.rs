//! The RPCs of the contract as subcommands.
//!
//! Everything follows from the contract: the names of the subcommands, their help, their flags and
//! the call. An RPC that is added to `proto/` needs no change here.

use std::io::{IsTerminal as _, stdout};

use clap::{
    ArgMatches, Args, Command, Error, FromArgMatches, Subcommand,
    error::ErrorKind::MissingSubcommand,
};
use serde_json::Value;

use super::{
    connect::connect,
    failure::Failure,
    output::{print, say},
    qr,
    request::RequestArgs,
    runtime,
};
use crate::{
    client::{Answer, Options, RPCS, Rpc},
    config::{ClientConfig, Unchecked},
    proto::{MAIN_GROUP, Method, first_paragraph},
};

/// The field of a response that is drawn on a terminal.
const QR_CODE: &str = "qr_code";

/// The subcommand of an RPC, as given on the command line.
#[derive(Debug)]
pub(super) struct RpcCommand {
    rpc: &'static Rpc,
    args: CallArgs,
    request: RequestArgs,
}

/// The flags that every RPC has.
#[derive(Args, Debug)]
struct CallArgs {
    #[command(flatten)]
    connection: Unchecked<ClientConfig>,

    /// A key of your choice that makes the call safe to retry: calls with the same key reach Stytch
    /// once (docs/retries.md)
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    idempotency_key: Option<String>,
}

impl RpcCommand {
    /// Makes the call and prints its response.
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { rpc, args, request } = self;
        let config = args.connection.check()?;
        let mut options = Options::new(config.deadline);
        let connection = connect(config)?;
        let request = request.read(rpc)?;
        if let Some(key) = args.idempotency_key {
            options =
                options.with_key(&key).map_err(|what| Failure::usage("--idempotency-key", what))?;
        }
        let answer = runtime::wait_for(rpc.call(&connection, request, &options))??;
        if answer.is_replayed() {
            say("note: this is the response to an earlier call with the same idempotency key\n");
        }
        print_answer(rpc, &answer)
    }
}

fn print_answer(rpc: &Rpc, answer: &Answer) -> Result<(), Failure> {
    let json = answer.json.get();
    print(&format!("{json}\n"))?;
    if rpc.responds_with(QR_CODE) && stdout().is_terminal() {
        let fields: Value = serde_json::from_str(json).map_err(|error| Failure::run(&error))?;
        print(&qr::draw_or_explain(fields[QR_CODE].as_str().unwrap_or_default()))?;
    }
    Ok(())
}

/// Whether the subcommands of the service are those of the program itself.
fn is_main(rpc: &Rpc) -> bool {
    rpc.method.group == MAIN_GROUP
}

fn subcommand(rpc: &Rpc) -> Command {
    let Method { command, comment, .. } = *rpc.method;
    let drawn =
        if rpc.responds_with(QR_CODE) { ", and draws its QR code on a terminal" } else { "" };
    let comment = first_paragraph(comment);
    let command = CallArgs::augment_args(Command::new(command))
        .about(summary(&comment))
        .long_about(format!("{comment}\n\nPrints the response as JSON{drawn}."));
    RequestArgs::augment(command, rpc.request)
}

/// The RPCs of a service as subcommands of one command.
fn group(rpcs: &[Rpc]) -> Command {
    let Method { group, group_comment, .. } = *rpcs[0].method;
    Command::new(group)
        .about(summary(&first_paragraph(group_comment)))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(rpcs.iter().map(subcommand))
}

/// The first sentence of a comment, without its full stop and without the REST route in brackets.
fn summary(comment: &str) -> String {
    let sentence = comment.split(". ").next().unwrap_or_default().trim_end_matches('.');
    match sentence.split_once(" (`").map(|(start, rest)| (start, rest.split_once("`)"))) {
        Some((start, Some((_, end)))) => format!("{start}{end}"),
        _ => sentence.to_owned(),
    }
}

impl Subcommand for RpcCommand {
    fn augment_subcommands(program: Command) -> Command {
        let services = RPCS.chunk_by(|a, b| a.method.group == b.method.group);
        let (main, groups): (Vec<_>, Vec<_>) = services.partition(|rpcs| is_main(&rpcs[0]));
        let program = program.subcommands(main.into_iter().flatten().map(subcommand));
        program.subcommands(groups.into_iter().map(group))
    }

    fn augment_subcommands_for_update(program: Command) -> Command {
        Self::augment_subcommands(program)
    }

    fn has_subcommand(name: &str) -> bool {
        RPCS.iter()
            .any(|rpc| name == if is_main(rpc) { rpc.method.command } else { rpc.method.group })
    }
}

impl FromArgMatches for RpcCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let (name, matches) = matches.subcommand().ok_or_else(|| Error::new(MissingSubcommand))?;
        let (group, name, matches) = match matches.subcommand() {
            Some((command, matches)) => (name, command, matches),
            None => (MAIN_GROUP, name, matches),
        };
        let rpc =
            RPCS.iter().find(|Rpc { method, .. }| (method.group, method.command) == (group, name));
        let rpc = rpc.ok_or_else(|| Error::new(MissingSubcommand))?;
        let args = CallArgs::from_arg_matches(matches)?;
        Ok(Self { rpc, args, request: RequestArgs::new(matches, rpc.request) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_of_the_contract_is_a_subcommand_with_a_summary_and_its_flags() {
        let program = RpcCommand::augment_subcommands(Command::new("program"));
        for rpc in RPCS {
            let Method { name, group, command, .. } = *rpc.method;
            let parent = if is_main(rpc) { Some(&program) } else { program.find_subcommand(group) };
            let command = parent.and_then(|parent| parent.find_subcommand(command));

            let command = command.unwrap_or_else(|| panic!("no subcommand for {name}"));
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.ends_with('.'), "{name}: {about:?}");
            for field in rpc.request {
                let mut flags = command.get_arguments().filter_map(|flag| flag.get_long());
                assert!(flags.any(|flag| flag == field.flag), "{name}: {}", field.flag);
            }
        }
    }

    #[test]
    fn a_summary_is_the_first_sentence_without_the_route() {
        for (comment, expected) in [
            (
                "Removes it (`DELETE /v1/it`), pending or not. Sessions go on.",
                "Removes it, pending or not",
            ),
            ("Removes it (`DELETE /v1/it`).", "Removes it"),
            ("Removes it (for good).", "Removes it (for good)"),
            ("", ""),
        ] {
            assert_eq!(summary(comment), expected);
        }
    }
}
