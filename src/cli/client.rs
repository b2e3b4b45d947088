//! A call to a running façade: the connection, the deadline, and the status of a call that failed.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use http::header::AUTHORIZATION;
use reqwest::Url;
use tokio::{
    runtime::Runtime,
    time::{Instant, timeout_at},
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_types::StatusExt as _;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::{
    config,
    error_chain::with_causes,
    files::{self, pem},
    proto::metadata,
    status,
};

/// The variable that holds the bearer token to call with.
pub const TOKEN: &str = "TOTP_FACADE_TOKEN";

/// The longest deadline.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the façade is, and how long to wait for it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArgs {
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

/// Where to connect to and how long to wait, checked.
pub(super) struct Connection {
    url: String,
    endpoint: Endpoint,
    deadline: Duration,
}

/// How long to wait beyond the deadline for the façade's own status, which says what is known.
const GRACE: Duration = Duration::from_millis(500);

/// How long before the deadline, at most, the façade answers that it has passed.
const LEAD: Duration = Duration::from_millis(50);

impl Connection {
    /// Makes one call. Connecting and the call together take no longer than the deadline.
    pub(super) fn call<Req, Res>(
        &self,
        mut request: Request<Req>,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Response<Res>, Failure> {
        if let Some(token) = token()? {
            request.metadata_mut().insert(AUTHORIZATION.as_str(), token);
        }
        let runtime = Runtime::new().map_err(|error| Failure::run(&error))?;
        let result = runtime.block_on(async {
            let until = Instant::now() + self.deadline;
            let channel = self.connect(until).await?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.ran_out("nothing was sent"));
            }
            request.set_timeout(left);
            let result = timeout_at(until + GRACE, rpc(channel, request)).await;
            result
                .unwrap_or_else(|_| Err(Status::cancelled("")))
                .map_err(|status| self.failure(&status, until))
        });
        // Does not wait for a DNS lookup that is still running.
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

    /// Describes why a call failed. Every status of the façade's has an `ErrorInfo`; one without is
    /// of this client's library, of a proxy, or of another server.
    fn failure(&self, status: &Status, until: Instant) -> Failure {
        const UNKNOWN: &str = "whether the call took effect is not known";
        let is_facades = status.get_details_error_info().is_some();
        match status.code() {
            Code::DeadlineExceeded if Instant::now() + LEAD >= until => {
                self.ran_out(&describe(status))
            }
            Code::Cancelled if !is_facades && Instant::now() >= until => {
                self.ran_out(&format!("no response came; {UNKNOWN}"))
            }
            _ if is_facades => Failure::Run(describe(status)),
            _ => Failure::Run(format!(
                "no façade answered: {}\n  either {} is not the gRPC port of a façade, or a proxy \
                 answered, or the connection broke; {UNKNOWN}",
                describe(status),
                self.url
            )),
        }
    }

    fn ran_out(&self, known: &str) -> Failure {
        let deadline = humantime::format_duration(self.deadline);
        Failure::Run(format!("your --deadline of {deadline} ran out: {known}"))
    }
}

impl ConnectionArgs {
    pub(super) fn check(&self) -> Result<Connection, Failure> {
        let deadline = match config::duration(&self.deadline) {
            Ok(Duration::ZERO) => Err("must be longer than 0".to_owned()),
            Ok(deadline) if deadline > MAX_DEADLINE => Err("is longer than a day".to_owned()),
            deadline => deadline,
        };
        let deadline = deadline.map_err(|what| Failure::usage("--deadline", what))?;
        let url = url_of(&self.addr).map_err(|what| Failure::usage("--addr", what))?;
        Ok(Connection { endpoint: self.endpoint(&url)?, url, deadline })
    }

    /// Where to connect to, and with which certificates.
    fn endpoint(&self, url: &str) -> Result<Endpoint, Failure> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| Failure::usage("--addr", error))?;
        if endpoint.uri().scheme_str() != Some("https") {
            // Whoever names them wants TLS, and would not get it.
            let files = [("--ca-file", &self.ca_file), ("--cert-file", &self.cert_file)];
            return match files.into_iter().find(|(_, file)| file.is_some()) {
                Some((flag, _)) => {
                    Err(Failure::usage(flag, "needs an --addr that begins with https://"))
                }
                None => Ok(endpoint),
            };
        }
        let read = |setting, path: &PathBuf| {
            files::read_bytes(path).map_err(|what| Failure::usage(setting, what))
        };
        let mut tls = match &self.ca_file {
            None => ClientTlsConfig::new().with_enabled_roots(),
            Some(path) => ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(read("--ca-file", path)?)),
        };
        if let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) {
            // The library would only say that there is no key.
            pem::private_key(key).map_err(|what| Failure::usage("--key-file", what))?;
            let (certificate, key) = (read("--cert-file", certificate)?, read("--key-file", key)?);
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(tls).map_err(|error| Failure::usage("--ca-file", with_causes(&error)))
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
        .map_err(|error| Failure::usage(TOKEN, error))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Formats a status with its details, one a line.
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
