//! The client side: one subcommand an RPC, and `healthcheck`.

use std::{
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use clap::{Args, Subcommand};
use http::header::AUTHORIZATION;
use serde::{Serialize, de::DeserializeOwned};
use terminal_size::{Width, terminal_size_of};
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use super::{Failure, print, qr, request::RequestArgs, runtime, say, usage, with_causes};
use crate::{
    config::{ClientConfig, Unchecked},
    proto::{
        Described, metadata,
        stytch::b2b::{
            recovery_codes::v1::{
                GetRequest, RecoverRequest, RotateRequest,
                recovery_codes_service_client::RecoveryCodesServiceClient as RecoveryCodes,
            },
            totp::v1::{
                AuthenticateRequest, CreateRequest, DeleteRequest, MigrateRequest,
                totp_service_client::TotpServiceClient as Totp,
            },
        },
    },
    status,
};

type ConnectionArgs = Unchecked<ClientConfig>;

/// A call of one RPC.
#[derive(Args, Debug)]
pub(super) struct CallArgs<Req: Described> {
    #[command(flatten)]
    connection: ConnectionArgs,

    /// A key of your choice, with which the call may be repeated: Stytch is asked once (docs/retries.md)
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    #[command(flatten)]
    request: RequestArgs<Req>,
}

/// RPCs about recovery codes.
#[derive(Debug, Subcommand)]
pub(super) enum RecoveryCodesCommand {
    /// Print the recovery codes that are still good
    Get(CallArgs<GetRequest>),
    /// Replace the recovery codes by new ones
    Rotate(CallArgs<RotateRequest>),
    /// Let a member in by a recovery code instead of a TOTP
    Recover(CallArgs<RecoverRequest>),
}

#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    connection: ConnectionArgs,

    /// The full name of a service; the whole server by default
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    service: String,
}

pub(super) fn create(args: CallArgs<CreateRequest>) -> Result<(), Failure> {
    let answer = args.call(async |channel, request| Totp::new(channel).create(request).await)?;
    print_json(&answer)?;
    if stdout().is_terminal() {
        match qr::draw(&answer.qr_code, columns()) {
            Ok(drawing) => print(&drawing),
            Err(error) => print(&format!(
                "(the QR code cannot be drawn: {error}. Show the picture in `qr_code` with another program, or type \
                 `secret` into the app)\n"
            )),
        }?;
    }
    Ok(())
}

/// How wide the terminal on standard output is.
fn columns() -> Option<usize> {
    let (Width(columns), _) = terminal_size_of(stdout())?;
    Some(columns.into())
}

pub(super) fn authenticate(args: CallArgs<AuthenticateRequest>) -> Result<(), Failure> {
    args.print(async |channel, request| Totp::new(channel).authenticate(request).await)
}

pub(super) fn migrate(args: CallArgs<MigrateRequest>) -> Result<(), Failure> {
    args.print(async |channel, request| Totp::new(channel).migrate(request).await)
}

pub(super) fn delete(args: CallArgs<DeleteRequest>) -> Result<(), Failure> {
    args.print(async |channel, request| Totp::new(channel).delete(request).await)
}

pub(super) fn recovery_codes(command: RecoveryCodesCommand) -> Result<(), Failure> {
    use RecoveryCodesCommand::{Get, Recover, Rotate};
    match command {
        Get(args) => args.print(async |channel, it| RecoveryCodes::new(channel).get(it).await),
        Rotate(args) => {
            args.print(async |channel, it| RecoveryCodes::new(channel).rotate(it).await)
        }
        Recover(args) => {
            args.print(async |channel, it| RecoveryCodes::new(channel).recover(it).await)
        }
    }
}

impl<Req: Described + DeserializeOwned> CallArgs<Req> {
    /// Makes the call.
    fn call<Res>(
        self,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Res, Failure> {
        let connection = Connection::new(self.connection.check()?)?;
        let mut request = Request::new(self.request.read()?);
        if let Some(key) = self.idempotency_key {
            let key = key.parse().map_err(|error| usage("--idempotency-key", &error))?;
            request.metadata_mut().insert(metadata::IDEMPOTENCY_KEY, key);
        }
        let response = connection.call(request, rpc)?;
        if response.metadata().contains_key(metadata::IDEMPOTENT_REPLAYED) {
            note("this is the answer to an earlier call with the same idempotency key");
        }
        Ok(response.into_inner())
    }

    /// Makes the call and prints its answer.
    fn print<Res: Serialize>(
        self,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<(), Failure> {
        print_json(&self.call(rpc)?)
    }
}

pub(super) fn healthcheck(args: &HealthcheckArgs) -> Result<(), Failure> {
    let request = Request::new(HealthCheckRequest { service: args.service.clone() });
    let connection = Connection::new(args.connection.check()?)?;
    let answer = connection
        .call(request, async |channel, request| HealthClient::new(channel).check(request).await)?;
    match answer.get_ref().status() {
        ServingStatus::Serving => print("SERVING\n"),
        status => Err(Failure::Run(status.as_str_name().into())),
    }
}

/// A way to the façade.
struct Connection {
    config: ClientConfig,
    endpoint: Endpoint,
}

/// How long after the deadline an answer that says so itself may come in.
const GRACE: Duration = Duration::from_millis(500);

impl Connection {
    fn new(mut config: ClientConfig) -> Result<Self, Failure> {
        let mut endpoint =
            Endpoint::from_shared(config.url.clone()).map_err(|error| usage("--addr", &error))?;
        if let Some(tls) = config.tls.take() {
            let result = endpoint.tls_config(tls);
            endpoint = result.map_err(|error| usage("--ca-file", &with_causes(&error)))?;
        }
        Ok(Self { config, endpoint })
    }

    /// Makes one call, which with connecting lasts no longer than the deadline.
    fn call<Req, Res>(
        &self,
        mut request: Request<Req>,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Response<Res>, Failure> {
        if let Some(authorization) = &self.config.authorization {
            request.metadata_mut().insert(AUTHORIZATION.as_str(), authorization.clone());
        }
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let until = Instant::now() + self.config.deadline;
            let channel = self.connect(until).await?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.ran_out("nothing was sent"));
            }
            request.set_timeout(left);
            // The façade answers a little before the deadline, and knows more.
            match timeout_at(until + GRACE, rpc(channel, request)).await {
                Ok(Err(status)) if is_facades_word(&status, until) => {
                    Err(self.ran_out(&describe(&status)))
                }
                Ok(Err(status)) if !is_cut_off(&status, until) => {
                    Err(Failure::Run(describe(&status)))
                }
                Ok(Ok(response)) => Ok(response),
                Ok(Err(_)) | Err(_) => {
                    Err(self.ran_out("no answer came; whether the call took effect is not known"))
                }
            }
        });
        // Without waiting for a name that is still being looked up.
        runtime.shutdown_background();
        result
    }

    async fn connect(&self, until: Instant) -> Result<Channel, Failure> {
        let url = &self.config.url;
        match timeout_at(until, self.endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => {
                let what = format!("cannot connect to {url}: {}", with_causes(&error));
                Err(Failure::Run(what))
            }
            Err(_) => {
                Err(self
                    .ran_out(&format!("there was no connection to {url}, and nothing was sent")))
            }
        }
    }

    fn ran_out(&self, known: &str) -> Failure {
        let deadline = humantime::format_duration(self.config.deadline);
        Failure::Run(format!("your --deadline of {deadline} ran out: {known}"))
    }
}

/// By how much the façade is early, at most, when it answers for a deadline.
const LEAD: Duration = Duration::from_millis(50);

/// Whether a status is the façade's for the deadline, and not for a timeout of its own.
fn is_facades_word(status: &Status, until: Instant) -> bool {
    status.code() == Code::DeadlineExceeded && Instant::now() + LEAD >= until
}

/// Whether a status is tonic's own for a deadline that ran out here, and no word of the façade's.
fn is_cut_off(status: &Status, until: Instant) -> bool {
    let is_word = status.get_details_error_info().is_some();
    status.code() == Code::Cancelled && !is_word && Instant::now() >= until
}

/// Says something beside the answer, which goes to standard output.
fn note(what: &str) {
    say(&format!("note: {what}\n"));
}

fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(answer).map_err(|error| Failure::run(&error))?;
    print(&format!("{json}\n"))
}

/// A status with its details, a line each.
fn describe(status: &Status) -> String {
    let mut lines = vec![format!("{}: {}", status::code_name(status.code()), status.message())];
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        lines.push(format!("reason: {} ({})", info.reason, info.domain));
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        lines.extend(metadata.iter().map(|(key, value)| format!("{key}: {value}")));
    }
    for violation in details.bad_request().iter().flat_map(|it| &it.field_violations) {
        lines.push(format!("field {}: {}", violation.field, violation.description));
    }
    if let Some(request) = details.request_info() {
        lines.push(format!("{}: {}", metadata::STYTCH_REQUEST_ID, request.request_id));
    }
    for link in details.help().iter().flat_map(|it| &it.links) {
        lines.push(format!("help: {}", link.url));
    }
    if let Some(delay) = details.retry_info().and_then(|it| it.retry_delay) {
        let delay = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        lines.push(format!("retry after: {}", humantime::format_duration(delay)));
    }
    if status.metadata().contains_key(metadata::IDEMPOTENT_REPLAYED) {
        lines.push(format!("{}: true", metadata::IDEMPOTENT_REPLAYED));
    }
    lines.join("\n  ")
}
