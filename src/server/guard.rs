//! What stands around every call on a connection: protocol, caller, admission, deadline, panics, the record of its end.
//!
//! One service rather than a layer for each, for they share one future and one allocation. Health and reflection
//! pass without admission and deadline, because a full server must still answer its probes; their
//! streams end when the connection closes, which an open `Health.Watch` would otherwise hold up for ever.

use std::{convert::Infallible, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt as _;

use super::{arrival, deadline, protocol, streams};
use crate::{
    access::{Access, Caller, REFLECTION},
    call::InFlight,
    connection::{Activity, Peer},
    proto::{self, metadata::IDEMPOTENT_REPLAYED},
    status::{Case, Failure, Repetition, Violation},
    telemetry::calls::Record,
};

/// What all connections share.
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
    /// Whether the peer is a listed proxy.
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
        // From now on, and not from when the future has its turn.
        let waiting = self.activity.wait();
        Box::pin(async move {
            let _waiting = waiting;
            let method = Method::of(&request);
            let mut record = Record::start(method.name());
            if let Some(response) = protocol::refusal(&request) {
                record.end(Code::Unknown);
                return Ok(response);
            }
            let repetition = Repetition::of(request.headers());
            let response = guard.respond(method, request.map(Body::new)).await;
            let response = response.unwrap_or_else(|failure| Status::from(failure).into_http());
            let response = finished(response, repetition);
            record.end(code_of(&response));
            Ok(response)
        })
    }
}

/// What a call asks for. A name is one of the contract's and not what the caller wrote, which may be anything.
#[derive(Clone, Copy, Debug)]
enum Method {
    HealthCheck,
    HealthWatch,
    Reflection(&'static str),
    Ours(&'static str),
    /// Whether it is of the health service, which is open to all.
    Unknown {
        of_health: bool,
    },
}

const HEALTH_CHECK: &str = "grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "grpc.health.v1.Health/Watch";

const REFLECTION_METHODS: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Stands for every method that there is not.
const OTHER: &str = "_OTHER";

impl Method {
    fn of<B>(request: &Request<B>) -> Self {
        let name = request.uri().path().strip_prefix('/').unwrap_or_default();
        let reflection = || REFLECTION_METHODS.into_iter().find(|known| *known == name);
        match name {
            HEALTH_CHECK => Self::HealthCheck,
            HEALTH_WATCH => Self::HealthWatch,
            _ => proto::method(name)
                .map(Self::Ours)
                .or_else(|| reflection().map(Self::Reflection))
                .unwrap_or(Self::Unknown { of_health: name.starts_with("grpc.health.v1.Health/") }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::HealthCheck => HEALTH_CHECK,
            Self::HealthWatch => HEALTH_WATCH,
            Self::Reflection(name) | Self::Ours(name) => name,
            Self::Unknown { .. } => OTHER,
        }
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
            Method::Ours(name) => self.admitted(name, request).await,
            Method::HealthCheck => {
                let request = request.map(arrival::one_message_in_time);
                caught(self.shared.routes.clone().oneshot(request)).await
            }
            Method::HealthWatch => self.streamed(request.map(arrival::one_message_in_time)).await,
            Method::Reflection(_) => {
                self.caller(REFLECTION, &request)?;
                self.streamed(request.map(arrival::messages_in_time)).await
            }
            Method::Unknown { of_health: true } => Err(no_such_method()),
            Method::Unknown { of_health: false } => {
                self.caller(OTHER, &request)?;
                Err(no_such_method())
            }
        }
    }

    /// Who makes the call, if they may call `method`.
    fn caller(&self, method: &str, request: &Request<Body>) -> Result<Arc<Caller>, Failure> {
        let caller = self.shared.access.caller(method, request.headers(), &self.peer);
        caller.map_err(|refusal| Failure::from(&refusal))
    }

    /// A call of gRPC's own services whose response has no end of its own.
    async fn streamed(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let watch = self.activity.watch(self.is_proxy).ok_or(Case::Overloaded)?;
        let response = caught(self.shared.routes.clone().oneshot(request)).await?;
        Ok(response.map(|body| streams::ended_by(self.activity.closing(), body, watch)))
    }

    /// A call of ours, if there is a permit for it.
    async fn admitted(
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
        let caller = self.caller(method, &request)?;
        let deadline = time_left.and_then(|time_left| Instant::now().checked_add(time_left));
        let in_flight = &self.shared.in_flight;
        let call = in_flight
            .admit(method, caller, deadline, Some(self.activity.begin()))
            .ok_or(Case::Overloaded)?;
        let gate = call.gate.clone();
        request.extensions_mut().insert(call);
        let request = request.map(arrival::one_message_in_time);
        let response = caught(self.shared.routes.clone().oneshot(request));
        match deadline {
            None => response.await,
            Some(deadline) => timeout_at(deadline, response)
                .await
                .unwrap_or_else(|_| Err(Failure::deadline_exceeded(gate.close()))),
        }
    }
}

/// Turns a panic into a status. Left alone it would reset the stream, which callers see as `CANCELLED`.
async fn caught(
    response: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Failure> {
    match AssertUnwindSafe(response).catch_unwind().await {
        Ok(Ok(response)) => Ok(response),
        Err(_) => Err(Case::Panicked.into()),
    }
}

fn no_such_method() -> Failure {
    Failure::from(Case::Unimplemented).saying("there is no such method")
}

/// The response as the caller gets it. A failure that tonic found has the details that every error of
/// ours has, and a failure of a call that was retried claims no more than is known about all attempts.
fn finished(mut response: Response<Body>, repetition: Option<Repetition>) -> Response<Body> {
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
    let mut finished: Response<Body> = Status::from(failure).into_http();
    // What else tonic says stays, such as the compressions that it knows.
    for (name, value) in response.headers() {
        finished.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    finished
}

/// The code of a response. One that is not an error up front has its code in the trailers: for our
/// unary calls that is `OK`.
fn code_of(response: &Response<Body>) -> Code {
    let status = response.headers().get(Status::GRPC_STATUS);
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}
