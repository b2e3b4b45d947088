//! The client side: one subcommand an RPC, and `healthcheck`.

use std::{
    io::{IsTerminal as _, stdout},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};
use http::header::AUTHORIZATION;
use reqwest::Url;
use serde::{Serialize, de::DeserializeOwned};
use terminal_size::{Width, terminal_size_of};
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;
use zeroize::Zeroizing;

use super::{Failure, print, qr, request::RequestArgs, runtime, say, usage, with_causes};
use crate::{
    config,
    files::{self, pem},
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

/// The variable that holds the bearer token to call with.
pub const TOKEN: &str = "TOTP_FACADE_TOKEN";

/// The longest deadline.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the façade is, and how long to wait for it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
struct ConnectionArgs {
    /// Where the façade listens: IP:PORT as it prints it, or a URL
    #[arg(
        long,
        env = "TOTP_FACADE_ADDR",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    addr: String,

    /// Time for connecting and for the whole call
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
        let connection = self.connection.check()?;
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
    let connection = args.connection.check()?;
    let answer = connection
        .call(request, async |channel, request| HealthClient::new(channel).check(request).await)?;
    match answer.get_ref().status() {
        ServingStatus::Serving => print("SERVING\n"),
        status => Err(Failure::Run(status.as_str_name().into())),
    }
}

/// A way to the façade, checked.
struct Connection {
    url: String,
    endpoint: Endpoint,
    deadline: Duration,
}

/// How long after the deadline an answer that says so itself may come in.
const GRACE: Duration = Duration::from_millis(500);

impl Connection {
    /// Makes one call, which with connecting lasts no longer than the deadline.
    fn call<Req, Res>(
        &self,
        mut request: Request<Req>,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Response<Res>, Failure> {
        if let Some(token) = token()? {
            request.metadata_mut().insert(AUTHORIZATION.as_str(), token);
        }
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let until = Instant::now() + self.deadline;
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
        let Self { url, .. } = self;
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
        let deadline = humantime::format_duration(self.deadline);
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

impl ConnectionArgs {
    fn check(&self) -> Result<Connection, Failure> {
        let deadline = match config::duration(&self.deadline) {
            Ok(Duration::ZERO) => Err("must be longer than 0".to_owned()),
            Ok(deadline) if deadline > MAX_DEADLINE => Err("is longer than a day".to_owned()),
            deadline => deadline,
        };
        let deadline = deadline.map_err(|what| usage("--deadline", &what))?;
        let url = url_of(&self.addr).map_err(|what| usage("--addr", &what))?;
        Ok(Connection { endpoint: self.endpoint(&url)?, url, deadline })
    }

    /// Where to connect to, and with which certificates.
    fn endpoint(&self, url: &str) -> Result<Endpoint, Failure> {
        let endpoint =
            Endpoint::from_shared(url.to_owned()).map_err(|error| usage("--addr", &error))?;
        if endpoint.uri().scheme_str() != Some("https") {
            // Whoever names them wants TLS, and would not get it.
            let files = [("--ca-file", &self.ca_file), ("--cert-file", &self.cert_file)];
            return match files.into_iter().find(|(_, file)| file.is_some()) {
                Some((flag, _)) => Err(usage(flag, &"needs an --addr that begins with https://")),
                None => Ok(endpoint),
            };
        }
        let read =
            |setting, path: &PathBuf| files::read_bytes(path).map_err(|what| usage(setting, &what));
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

/// The URL of a façade, which may be given as IP:PORT.
fn url_of(addr: &str) -> Result<String, &'static str> {
    const FORM: &str =
        "is not the address of a façade: HOST:PORT, http://HOST:PORT or https://HOST[:PORT]";
    // It may hold a password, so no message quotes it.
    let (has_scheme, url) = match addr.split_once("://") {
        // `Url` would take the first part of a path for the host.
        Some((_, rest)) if rest.starts_with(['/', '\\']) => return Err(FORM),
        Some(_) => (true, addr.to_owned()),
        None => (false, format!("http://{addr}")),
    };
    let url = Url::parse(&url).map_err(|_| FORM)?;
    // `Url` drops a port that is the scheme's own.
    let has_port = has_scheme || url.port().is_some() || addr.ends_with(":80");
    if !matches!(url.scheme(), "http" | "https") || !has_port {
        return Err(FORM);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "must not hold credentials; TOTP_FACADE_TOKEN is the bearer token to call with",
        );
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("must end with the host and the port, without a path or a query");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
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
