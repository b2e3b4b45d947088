//! A connection to a façade, and one call on it.

use std::{error::Error as _, time::Duration};

use http::header::AUTHORIZATION;
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::{failure::CallFailure, report::Report};
use crate::{
    config::{ClientConfig, Problem},
    error_chain::with_causes,
    http_client::is_loopback,
    tls_failure::TlsFailure,
};

/// A connection to a façade.
#[derive(Debug)]
pub struct Connection {
    url: String,
    authorization: Option<MetadataValue<Ascii>>,
    endpoint: Endpoint,
    has_certificate: bool,
}

/// How long to wait beyond the deadline for the façade's own status, which says what is known.
const GRACE: Duration = Duration::from_millis(500);

/// How long before the deadline, at most, the façade answers that it has passed.
const LEAD: Duration = Duration::from_millis(50);

impl Connection {
    /// Prepares calls to the façade. Does not connect yet.
    ///
    /// # Errors
    ///
    /// When the address or the files of TLS cannot be used.
    pub fn new(config: ClientConfig) -> Result<Self, Problem> {
        let ClientConfig { url, authorization, tls, files, .. } = config;
        let has_certificate = files.certificate.is_some();
        let problem = |setting, what| Problem { setting, what };
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| problem("--addr", error.to_string()))?;
        if let Some(tls) = tls {
            let result = endpoint.tls_config(tls);
            endpoint = result.map_err(|error| problem("--ca-file", with_causes(&error)))?;
        }
        Ok(Self { url, authorization, endpoint, has_certificate })
    }

    /// Returns the URL of the façade.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes one call on a new connection. Connecting and the call together take no longer than the
    /// deadline.
    ///
    /// # Errors
    ///
    /// When there is no connection, no answer in time, or an answer that is a failure.
    pub async fn call<Req, Res, Answer>(
        &self,
        mut request: Request<Req>,
        deadline: Duration,
        rpc: impl FnOnce(Channel, Request<Req>) -> Answer,
    ) -> Result<Response<Res>, CallFailure>
    where
        Answer: Future<Output = Result<Response<Res>, Status>>,
    {
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert(AUTHORIZATION.as_str(), authorization.clone());
        }
        let time = Time { deadline, end: Instant::now() + deadline };
        let channel = self.connect(&time).await?;
        let left = time.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CallFailure::unsent(deadline, "nothing was sent".to_owned()));
        }
        request.set_timeout(left);
        match timeout_at(time.end + GRACE, rpc(channel, request)).await {
            Ok(result) => result.map_err(|status| self.failure(&status, &time)),
            Err(_) => Err(CallFailure::unanswered(deadline)),
        }
    }

    async fn connect(&self, time: &Time) -> Result<Channel, CallFailure> {
        let url = &self.url;
        match timeout_at(time.end, self.endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => {
                let cause = with_causes(&error) + &hint(url, &error);
                Err(CallFailure::NotConnected { url: url.clone(), cause })
            }
            Err(_) => {
                let known = format!("there was no connection to {url}, and nothing was sent");
                Err(CallFailure::unsent(time.deadline, known))
            }
        }
    }

    /// Says why a call failed. Every status of the façade's has an `ErrorInfo`; one without is of
    /// this client's library, of a proxy, or of another server.
    fn failure(&self, status: &Status, time: &Time) -> CallFailure {
        let report = Report::of(status);
        if let Some(cause) = refused_certificate(status) {
            return CallFailure::NotConnected { url: self.url.clone(), cause };
        }
        match status.code() {
            Code::DeadlineExceeded if Instant::now() + LEAD >= time.end => {
                CallFailure::passed(time.deadline, report)
            }
            Code::Cancelled if !report.is_of_facade() && Instant::now() >= time.end => {
                CallFailure::unanswered(time.deadline)
            }
            _ if report.is_of_facade() => {
                let is_anonymous = self.authorization.is_none() && !self.has_certificate;
                CallFailure::Refused { report, is_anonymous }
            }
            // A status that was received has no cause.
            _ if status.source().is_some() => {
                let (url, has_certificate) = (self.url.clone(), self.has_certificate);
                CallFailure::Broken { url, report, has_certificate }
            }
            _ => CallFailure::NotAFacade { url: self.url.clone(), report },
        }
    }
}

/// Says what to try where TLS did not come about; begins with a semicolon. Beyond loopback,
/// somebody between could have brought that about: a client that then follows a hint to do without
/// TLS would send its bearer token in the clear.
fn hint(url: &str, error: &tonic::transport::Error) -> String {
    let Some(failure) = TlsFailure::of(error) else { return String::new() };
    let mut hint = format!("; {}", failure.explain("--ca-file"));
    let is_loopback = url.parse().is_ok_and(|url| is_loopback(&url));
    if failure == TlsFailure::NotTls && is_loopback {
        hint += &format!(": try --addr {}", url.replacen("https://", "http://", 1));
    }
    hint
}

/// Says that the façade refused the client certificate, if the error tells. In TLS 1.3 that arrives
/// after the client's part of the handshake; a call that is earlier is only cancelled.
fn refused_certificate(status: &Status) -> Option<String> {
    let TlsFailure::ClientRefused(alert) = TlsFailure::of(status)? else { return None };
    Some(format!(
        "the façade refused the client certificate ({alert:?}): none of its authorities has issued \
         it, or it is not valid now"
    ))
}

/// The time that a call has.
struct Time {
    deadline: Duration,
    end: Instant,
}
