//! The client side: one subcommand an RPC, and `healthcheck`.

use std::{
    io::{IsTerminal as _, stdout},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};
use http::header::AUTHORIZATION;
use serde::{Serialize, de::DeserializeOwned};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;
use zeroize::Zeroizing;

use super::{Failure, print, qr, request::RequestArgs, runtime, usage, with_causes};
use crate::{
    idempotency, pem,
    proto::{
        Described,
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
    status, text_file,
};

/// The variable that holds the bearer token to call with.
pub const TOKEN: &str = "TOTP_FACADE_TOKEN";

/// Where the façade is, and how long to wait for it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
struct ConnectionArgs {
    /// Where the façade listens
    #[arg(
        long,
        env = "TOTP_FACADE_ADDR",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    addr: String,

    /// Time for the whole call
    #[arg(long, default_value = "15s", value_name = "TIME")]
    deadline: String,

    /// Authorities of the façade's certificate, PEM; those of the system by default
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Certificate to call with, PEM
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

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
        match qr::draw(&answer.qr_code) {
            Ok(drawing) => print(&drawing),
            Err(error) => print(&format!("(the QR code cannot be drawn: {error})\n")),
        }
    }
    Ok(())
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
        let mut request = Request::new(self.request.read()?);
        if let Some(key) = self.idempotency_key {
            let key = key.parse().map_err(|error| usage("--idempotency-key", &error))?;
            request.metadata_mut().insert(idempotency::HEADER, key);
        }
        let response = self.connection.call(request, rpc)?;
        if response.metadata().contains_key(idempotency::REPLAYED) {
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
    let answer = args
        .connection
        .call(request, async |channel, request| HealthClient::new(channel).check(request).await)?;
    match answer.get_ref().status() {
        ServingStatus::Serving => {
            print("SERVING\n");
            Ok(())
        }
        status => Err(Failure::Run(status.as_str_name().into())),
    }
}

impl ConnectionArgs {
    /// Makes one call with a deadline.
    fn call<Req, Res>(
        &self,
        mut request: Request<Req>,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Response<Res>, Failure> {
        let deadline = humantime::parse_duration(&self.deadline)
            .map_err(|error| usage("--deadline", &error))?;
        let endpoint = self.endpoint()?.connect_timeout(deadline);
        if let Some(token) = token()? {
            request.metadata_mut().insert(AUTHORIZATION.as_str(), token);
        }
        runtime()?.block_on(async {
            let channel = endpoint.connect().await.map_err(|error| {
                Failure::Run(format!("cannot connect to {}: {}", self.addr, with_causes(&error)))
            })?;
            request.set_timeout(deadline);
            rpc(channel, request).await.map_err(|status| Failure::Run(describe(&status)))
        })
    }
}

/// Says something beside the answer, which goes to standard output.
#[expect(clippy::print_stderr)]
fn note(what: &str) {
    eprintln!("note: {what}");
}

impl ConnectionArgs {
    /// Where to connect to, and with which certificates.
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let endpoint =
            Endpoint::from_shared(self.addr.clone()).map_err(|error| usage("--addr", &error))?;
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let read = |setting, path: &PathBuf| {
            text_file::read_bytes(path).map_err(|what| usage(setting, &what))
        };
        let mut tls = match &self.ca_file {
            None => ClientTlsConfig::new().with_enabled_roots(),
            Some(path) => ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(read("--ca-file", path)?)),
        };
        if let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) {
            // The library would only say that there is no key.
            pem::private_key(key).map_err(|what| usage("--key-file", &what))?;
            let (certificate, key) = (read("--cert-file", certificate)?, read("--key-file", key)?);
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(tls).map_err(|error| usage("--ca-file", &with_causes(&error)))
    }
}

/// The bearer token to call with, as metadata.
fn token() -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let Some(token) = std::env::var_os(TOKEN).filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    let mut value = Zeroizing::new(format!("Bearer {}", token.to_string_lossy()))
        .parse::<MetadataValue<Ascii>>()
        .map_err(|error| usage(TOKEN, &error))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(answer).map_err(|error| Failure::run(&error))?;
    print(&format!("{json}\n"));
    Ok(())
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
        lines.push(format!("{}: {}", status::REQUEST_ID, request.request_id));
    }
    for link in details.help().iter().flat_map(|it| &it.links) {
        lines.push(format!("help: {}", link.url));
    }
    if let Some(delay) = details.retry_info().and_then(|it| it.retry_delay) {
        let delay = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        lines.push(format!("retry after: {}", humantime::format_duration(delay)));
    }
    if status.metadata().contains_key(idempotency::REPLAYED) {
        lines.push(format!("{}: true", idempotency::REPLAYED));
    }
    lines.join("\n  ")
}
