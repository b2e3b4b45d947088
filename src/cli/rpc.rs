//! The RPCs of the contract as subcommands.
//!
//! Everything follows from the contract: the names of the subcommands, their help, their flags and
//! the call. An RPC that is added to `proto/` needs no change here.

use std::io::{IsTerminal as _, stdout};

use clap::{
    ArgMatches, Args, Command, Error, FromArgMatches, Subcommand,
    error::ErrorKind::MissingSubcommand,
};
use http::uri::PathAndQuery;
use prost::Message;
use serde::Serialize;
use tonic::{Request, Response, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::{
    client::Connection,
    failure::Failure,
    output::{print, say},
    qr,
    request::RequestArgs,
};
use crate::{
    config::{ClientConfig, Unchecked},
    idempotency::Key,
    proto::{self, Described, Field, Method, metadata},
    translate::{FromJson, Table},
};

/// The group whose RPCs are subcommands of the program itself.
const MAIN_GROUP: &str = "totp";

/// The field of a response that is drawn on a terminal.
const QR_CODE: &str = "qr_code";

/// Every RPC of the contract.
static RPCS: &[Rpc] = &proto::rpcs!(rpc);

/// An RPC, with its types hidden behind `run`.
#[derive(Debug)]
struct Rpc {
    method: &'static Method,
    request: &'static [Field],
    response: &'static Table,
    run: fn(Call) -> Result<(), Failure>,
}

/// A call as given on the command line.
#[derive(Debug)]
pub(super) struct Call {
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

impl Call {
    /// Makes the call and prints its response.
    pub(super) fn run(self) -> Result<(), Failure> {
        (self.rpc.run)(self)
    }
}

const fn rpc<Req, Res>(method: &'static Method) -> Rpc
where
    Req: Message + Described + FromJson + Default + 'static,
    Res: Message + FromJson + Serialize + Default + 'static,
{
    Rpc { method, request: Req::FIELDS, response: Res::TABLE, run: run::<Req, Res> }
}

fn run<Req, Res>(call: Call) -> Result<(), Failure>
where
    Req: Message + FromJson + Default + 'static,
    Res: Message + Serialize + Default + 'static,
{
    let Call { rpc, args, request } = call;
    let connection = Connection::new(args.connection.check()?)?;
    let mut request = Request::new(request.read::<Req>()?);
    if let Some(key) = args.idempotency_key {
        insert_key(&mut request, &key).map_err(|what| Failure::usage("--idempotency-key", what))?;
    }
    let response: Response<Res> = connection
        .call(request, async |channel, request| unary(channel, rpc.method, request).await)?;
    if response.metadata().contains_key(metadata::IDEMPOTENT_REPLAYED) {
        say("note: this is the response to an earlier call with the same idempotency key\n");
    }
    rpc.print(response.get_ref())
}

/// Adds an idempotency key, which must be one that the façade accepts.
fn insert_key<T>(request: &mut Request<T>, key: &str) -> Result<(), &'static str> {
    let value = key.parse().map_err(|_| "must be visible ASCII")?;
    request.metadata_mut().insert(metadata::IDEMPOTENCY_KEY, value);
    Key::of(request.metadata()).map(drop)
}

/// Makes a unary call of any method, which the generated clients do by a function for each.
async fn unary<Req, Res>(
    channel: Channel,
    method: &Method,
    request: Request<Req>,
) -> Result<Response<Res>, Status>
where
    Req: Message + 'static,
    Res: Message + Default + 'static,
{
    let path = PathAndQuery::try_from(format!("/{}", method.name));
    let path = path.map_err(|error| Status::from_error(error.into()))?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    client.unary(request, path, ProstCodec::<Req, Res>::default()).await
}

impl Rpc {
    fn is_main(&self) -> bool {
        self.method.group == MAIN_GROUP
    }

    fn subcommand(&self) -> Command {
        let Method { command, comment, .. } = *self.method;
        let drawn = if self.has_qr_code() { ", and draws its QR code on a terminal" } else { "" };
        let command = CallArgs::augment_args(Command::new(command))
            .about(summary(comment))
            .long_about(format!("{comment}\n\nPrints the response as JSON{drawn}."));
        RequestArgs::augment(command, self.request)
    }

    fn has_qr_code(&self) -> bool {
        self.response.field(QR_CODE).is_some()
    }

    fn print(&self, response: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(response).map_err(|error| Failure::run(&error))?;
        print(&format!("{json}\n"))?;
        if self.has_qr_code() && stdout().is_terminal() {
            let fields = serde_json::to_value(response).map_err(|error| Failure::run(&error))?;
            print(&qr::draw_or_explain(fields[QR_CODE].as_str().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// The RPCs of a service as subcommands of one command.
fn group(rpcs: &[Rpc]) -> Command {
    let Method { group, group_comment, .. } = *rpcs[0].method;
    Command::new(group)
        .about(summary(group_comment))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(rpcs.iter().map(Rpc::subcommand))
}

/// The first sentence of a comment, without its full stop and without the REST route in brackets.
fn summary(comment: &str) -> String {
    let sentence = comment.split(". ").next().unwrap_or_default().trim_end_matches('.');
    match sentence.split_once(" (`").map(|(start, rest)| (start, rest.split_once("`)"))) {
        Some((start, Some((_, end)))) => format!("{start}{end}"),
        _ => sentence.to_owned(),
    }
}

impl Subcommand for Call {
    fn augment_subcommands(program: Command) -> Command {
        let services = RPCS.chunk_by(|a, b| a.method.group == b.method.group);
        let (main, groups): (Vec<_>, Vec<_>) = services.partition(|rpcs| rpcs[0].is_main());
        let program = program.subcommands(main.into_iter().flatten().map(Rpc::subcommand));
        program.subcommands(groups.into_iter().map(group))
    }

    fn augment_subcommands_for_update(program: Command) -> Command {
        Self::augment_subcommands(program)
    }

    fn has_subcommand(name: &str) -> bool {
        RPCS.iter()
            .any(|rpc| name == if rpc.is_main() { rpc.method.command } else { rpc.method.group })
    }
}

impl FromArgMatches for Call {
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
        let program = Call::augment_subcommands(Command::new("program"));
        for rpc in RPCS {
            let Method { name, group, command, .. } = *rpc.method;
            let parent =
                if rpc.is_main() { Some(&program) } else { program.find_subcommand(group) };
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
