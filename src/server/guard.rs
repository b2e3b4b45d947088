//! The service around every call on a connection: protocol checks, authentication, admission,
//! deadline, panics, and the log record.
//!
//! It is one service rather than a stack of layers, so that a call costs one future and one
//! allocation. Health and reflection bypass admission and deadline, because a full server must
//! still answer its probes. Their streams end when the connection is asked to close, because an
//! open `Health.Watch` would keep it open forever.

use std::{convert::Infallible, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt as _;

use super::{
    arrival, deadline,
    method::{Method, OTHER},
    protocol, streams,
};
use crate::{
    access::{Access, Caller, REFLECTION},
    call::InFlight,
    connection::{Activity, Peer},
    proto::metadata::IDEMPOTENT_REPLAYED,
    service::WholeBody,
    status::{Case, Failure, Repetition, Violation},
    telemetry::calls::Record,
};

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) routes: Routes,
    pub(super) access: Access,
    pub(super) in_flight: InFlight,
}

/// Serves the calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    activity: Arc<Activity>,
    /// Whether the connection is from a listed proxy.
    is_proxy: bool,
}

impl Guard {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: Peer,
        activity: Arc<Activity>,
        is_proxy: bool,
    ) -> Self {
        Self { shared, peer: Arc::new(peer), activity, is_proxy }
    }
}

impl Service<Request<Incoming>> for Guard {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let guard = self.clone();
        // Counts from here on, not from the first poll of the future.
        let pending = self.activity.begin_request();
        Box::pin(async move {
            let _pending = pending;
            let method = Method::of(&request);
            let mut record = Record::start(method.name());
            if let Some(response) = protocol::refusal(&request) {
                record.finish(Code::Unknown);
                return Ok(response);
            }
            let repetition = Repetition::of(request.headers());
            let response = guard.respond(method, request.map(Body::new)).await;
            let response = response.unwrap_or_else(|failure| Status::from(failure).into_http());
            let response = with_details(response, repetition);
            record.finish(code_of(&response));
            Ok(response)
        })
    }
}

impl Guard {
    async fn respond(
        &self,
        method: Method,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        if protocol::is_too_large(&request) {
            return Err(Failure::from(Case::TooLarge).saying("the metadata is larger than 16 KiB"));
        }
        match method {
            Method::Contract(name) => self.serve_call(name, request).await,
            Method::HealthCheck => {
                let request = request.map(arrival::single_message);
                catch_panic(self.shared.routes.clone().oneshot(request)).await
            }
            Method::HealthWatch => self.serve_stream(request.map(arrival::single_message)).await,
            Method::Reflection(_) => {
                self.authorize(REFLECTION, &request)?;
                self.serve_stream(request.map(arrival::messages)).await
            }
            Method::Unknown { of_health: true } => Err(no_such_method()),
            Method::Unknown { of_health: false } => {
                self.authorize(OTHER, &request)?;
                Err(no_such_method())
            }
        }
    }

    /// Authenticates the caller, and authorizes it to call `method`.
    fn authorize(&self, method: &str, request: &Request<Body>) -> Result<Arc<Caller>, Failure> {
        let caller = self.shared.access.caller(method, request.headers(), &self.peer);
        caller.map_err(|refusal| Failure::from(&refusal))
    }

    /// Serves a health watch or reflection stream, whose response ends only with the connection.
    async fn serve_stream(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let stream = self.activity.begin_stream(self.is_proxy).ok_or(Case::Overloaded)?;
        let response = catch_panic(self.shared.routes.clone().oneshot(request)).await?;
        Ok(response.map(|body| streams::end_on_close(body, self.activity.closing(), stream)))
    }

    /// Serves a call to the contract, if it is admitted.
    async fn serve_call(
        &self,
        method: &'static str,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let time_left = deadline::time_left(request.headers()).map_err(|deadline::Malformed| {
            let what = "must be one to eight digits and one of H, M, S, m, u, n";
            Failure::invalid(vec![Violation::new("grpc-timeout", what)], 0)
        })?;
        if time_left.is_some_and(|time_left| time_left.is_zero()) {
            return Err(Failure::deadline_exceeded(false));
        }
        let caller = self.authorize(method, &request)?;
        let deadline = time_left.and_then(|time_left| Instant::now().checked_add(time_left));
        let in_flight = &self.shared.in_flight;
        let call = in_flight
            .admit(method, caller, deadline, Some(self.activity.begin_call()))
            .ok_or(Case::Overloaded)?;
        let gate = call.gate.clone();
        request.extensions_mut().insert(call);
        let request = request.map(arrival::single_message);
        let response = catch_panic(self.shared.routes.clone().oneshot(request));
        match deadline {
            None => response.await,
            Some(deadline) => timeout_at(deadline, response)
                .await
                .unwrap_or_else(|_| Err(Failure::deadline_exceeded(gate.close()))),
        }
    }
}

/// Turns a panic into a failure. Uncaught, it would reset the stream, which callers see as
/// `CANCELLED`.
async fn catch_panic(
    response: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Failure> {
    match AssertUnwindSafe(response).catch_unwind().await {
        Ok(Ok(response)) => Ok(WholeBody::replace_body(response)),
        Err(_) => Err(Case::Panicked.into()),
    }
}

fn no_such_method() -> Failure {
    Failure::from(Case::Unimplemented).saying("there is no such method")
}

/// Completes an error response: adds details to an error that tonic made, and qualifies a failure
/// of a retried call, so that it claims no more than is known about all attempts.
fn with_details(mut response: Response<Body>, repetition: Option<Repetition>) -> Response<Body> {
    let Some(status) = response.extensions_mut().remove::<Status>() else { return response };
    let is_replayed = response.headers().contains_key(IDEMPOTENT_REPLAYED);
    let repetition = repetition.filter(|_| !is_replayed);
    let qualified = |failure: &Failure| repetition.and_then(|it| it.qualify(failure));
    let written = match Failure::of(&status) {
        Some(failure) => qualified(failure),
        None if status.code() != Code::Ok && status.details().is_empty() => {
            let failure = Failure::of_transport(&status);
            Some(qualified(&failure).unwrap_or(failure))
        }
        None => None,
    };
    let Some(failure) = written else { return response };
    let mut complete: Response<Body> = Status::from(failure).into_http();
    // Keeps other headers, such as the compressions that tonic supports.
    for (name, value) in response.headers() {
        complete.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    complete
}

/// Returns the code of a response. Without one in the headers, the code is in the trailers, where
/// it is `OK` for unary calls.
fn code_of(response: &Response<Body>) -> Code {
    let status = response.headers().get(Status::GRPC_STATUS);
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}
