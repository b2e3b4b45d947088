//! A call to a running façade: the connection, the deadline, and the status of a call that failed.

use std::time::Duration;

use http::header::AUTHORIZATION;
use tokio::{
    runtime::Builder,
    time::{Instant, timeout_at},
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::failure::Failure;
use crate::{config::ClientConfig, error_chain::with_causes, proto::metadata, status};

/// A connection to a façade.
pub(super) struct Connection {
    config: ClientConfig,
    endpoint: Endpoint,
}

/// How long to wait beyond the deadline for the façade's own status, which says what is known.
const GRACE: Duration = Duration::from_millis(500);

/// How long before the deadline, at most, the façade answers that it has passed.
const LEAD: Duration = Duration::from_millis(50);

impl Connection {
    /// Prepares calls to the façade. Does not connect yet.
    pub(super) fn new(mut config: ClientConfig) -> Result<Self, Failure> {
        let mut endpoint = Endpoint::from_shared(config.url.clone())
            .map_err(|error| Failure::usage("--addr", error))?;
        if let Some(tls) = config.tls.take() {
            let result = endpoint.tls_config(tls);
            endpoint = result.map_err(|error| Failure::usage("--ca-file", with_causes(&error)))?;
        }
        Ok(Self { config, endpoint })
    }

    /// Makes one call. Connecting and the call together take no longer than the deadline.
    pub(super) fn call<Req, Res>(
        &self,
        mut request: Request<Req>,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Response<Res>, Failure> {
        if let Some(authorization) = &self.config.authorization {
            request.metadata_mut().insert(AUTHORIZATION.as_str(), authorization.clone());
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::run(&error))?;
        let result = runtime.block_on(async {
            let until = Instant::now() + self.config.deadline;
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
                self.config.url
            )),
        }
    }

    fn ran_out(&self, known: &str) -> Failure {
        let deadline = humantime::format_duration(self.config.deadline);
        Failure::Run(format!("your --deadline of {deadline} ran out: {known}"))
    }
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
