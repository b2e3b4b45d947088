//! The client: a channel, retries, what each call carries, and the details of an error.

use std::time::Duration;

use contract::totp_service_client::TotpServiceClient;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

include!(concat!(env!("OUT_DIR"), "/contract.rs"));
pub use stytch::b2b::totp::v1 as contract;

pub type Client = TotpServiceClient<Channel>;
type Outcome<T> = Result<T, Status>;

/// The time for a whole call, retries included.
const DEADLINE: Duration = Duration::from_secs(15);
const MAX_ATTEMPTS: u32 = 4;

/// Returns a client, whose calls share one connection.
pub fn connect() -> Result<Client, Box<dyn std::error::Error>> {
    Ok(TotpServiceClient::new(channel()?))
}

/// Returns a connection to the façade, by TLS if its address begins with https.
pub fn channel() -> Result<Channel, Box<dyn std::error::Error>> {
    let address = variable("TOTP_FACADE_ADDR").unwrap_or("127.0.0.1:50051".into());
    let address = if address.contains("://") { address } else { format!("http://{address}") };
    let is_tls = address.starts_with("https://");
    let mut endpoint = Channel::from_shared(address)?;
    if is_tls {
        let mut tls = ClientTlsConfig::new();
        tls = match variable("TOTP_FACADE_CA_FILE") {
            Some(file) => tls.ca_certificate(Certificate::from_pem(std::fs::read(file)?)),
            None => tls.with_enabled_roots(),
        };
        if let Some(file) = variable("TOTP_FACADE_CLIENT_CERT_FILE") {
            let key = variable("TOTP_FACADE_CLIENT_KEY_FILE").ok_or("the key's file is missing")?;
            tls = tls.identity(Identity::from_pem(std::fs::read(file)?, std::fs::read(key)?));
        }
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint.connect_lazy())
}

pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns an idempotency key: one for each operation, the same for all its attempts.
pub fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Makes one call.
pub async fn call<Req: Clone, Res>(
    client: &Client,
    request: Req,
    send: impl AsyncFn(Client, Request<Req>) -> Outcome<Response<Res>>,
) -> Outcome<Res> {
    let response = attempts(client, request, &new_key(), Instant::now() + DEADLINE, send).await?;
    Ok(response.into_inner())
}

/// Makes the attempts of one call, with the same key. tonic has no retries of its own.
pub async fn attempts<Req: Clone, Res>(
    client: &Client,
    message: Req,
    key: &str,
    deadline: Instant,
    send: impl AsyncFn(Client, Request<Req>) -> Outcome<Response<Res>>,
) -> Outcome<Response<Res>> {
    for attempt in 1.. {
        let mut request = Request::new(message.clone());
        request.set_timeout(deadline - Instant::now());
        authorize(&mut request, key)?;
        let outcome = in_time(deadline, send(client.clone(), request)).await;
        match outcome.as_ref().err().and_then(|status| delay(status, attempt)) {
            Some(delay) if Instant::now() + delay < deadline => sleep(delay).await,
            _ => return outcome,
        }
    }
    unreachable!("the last attempt is not delayed")
}

/// Ends a late call with the status that it has in other languages. tonic calls it cancelled, and
/// waits for a connection as long as that takes.
async fn in_time<T>(deadline: Instant, call: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    match timeout_at(deadline, call).await {
        Ok(Err(status)) if status.code() == Code::Cancelled && Instant::now() >= deadline => {}
        Ok(outcome) => return outcome,
        Err(_) => {}
    }
    Err(Status::deadline_exceeded("the call took too long"))
}

/// Adds what a call carries: its key, and the token that says who calls.
fn authorize<T>(request: &mut Request<T>, key: &str) -> Outcome<()> {
    let invalid = |_| Status::invalid_argument("a key or token that is not ASCII");
    let metadata = request.metadata_mut();
    metadata.insert("idempotency-key", key.parse().map_err(invalid)?);
    if let Some(token) = variable("TOTP_FACADE_TOKEN") {
        metadata.insert("authorization", format!("Bearer {token}").parse().map_err(invalid)?);
    }
    Ok(())
}

/// How long to wait for the next attempt, if there is one. Every call carries an idempotency key,
/// so any failure may be retried. The server's pushback delays retries, and stops those that cannot
/// help. Without keys, retry reads only: docs/retries.md.
fn delay(status: &Status, attempt: u32) -> Option<Duration> {
    use Code::{Cancelled, Internal, ResourceExhausted, Unavailable, Unknown};
    let codes = [Unavailable, ResourceExhausted, Internal, Unknown, Cancelled];
    if attempt == MAX_ATTEMPTS || !codes.contains(&status.code()) {
        return None;
    }
    match status.metadata().get("grpc-retry-pushback-ms") {
        // -1 is no delay: a retry is useless.
        Some(pushback) => pushback.to_str().ok()?.parse().ok().map(Duration::from_millis),
        None => Some(Duration::from_millis(50 << attempt)),
    }
}

/// The details of a failed call.
#[derive(Default)]
pub struct Details {
    /// Stable, in upper case.
    pub reason: String,
    /// What is known about the call: `not_sent`, `rejected` or `unknown`.
    pub upstream: String,
    /// The invalid fields of the request.
    pub fields: Vec<String>,
}

impl Details {
    pub fn of(status: &Status) -> Self {
        let all = status.get_error_details();
        let mut details = Self::default();
        if let Some(info) = all.error_info() {
            details.reason = info.reason.clone();
            details.upstream = info.metadata.get("upstream").cloned().unwrap_or_default();
        }
        if let Some(bad) = all.bad_request() {
            details.fields = bad.field_violations.iter().map(|it| it.field.clone()).collect();
        }
        details
    }
}
