//! The layer around every call: its caller, admission, deadline, panics, the record of its end.
//!
//! One layer rather than four, for they share one future and one allocation. Health and reflection
//! pass without admission and deadline, because a full server must still answer its probes; their
//! streams end when the server drains, which an open `Health.Watch` would otherwise hold up for ever.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use http::{Request, Response, uri::PathAndQuery};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::{Layer, Service, ServiceExt as _};

use super::{
    arrival, deadline,
    drain::Closing,
    listener::Peer,
    slots::{Activity, OpenCall},
};
use crate::{
    access::{Access, Caller, REFLECTION},
    call::InFlight,
    status::{self, Repetition, Violation},
};

#[derive(Clone, Debug)]
pub(super) struct GuardLayer {
    pub(super) access: Access,
    pub(super) in_flight: InFlight,
    pub(super) closing: Closing,
}

impl Layer<Routes> for GuardLayer {
    type Service = Guard;

    fn layer(&self, routes: Routes) -> Guard {
        Guard { routes, layer: Arc::new(self.clone()) }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Guard {
    routes: Routes,
    layer: Arc<GuardLayer>,
}

impl Service<Request<Body>> for Guard {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { routes, layer } = self.clone();
        let mut record = Record::start(&request);
        let repetition = Repetition::of(request.headers());
        let activity =
            request.extensions().get::<Peer>().and_then(|peer| peer.activity.as_ref()).cloned();
        Box::pin(async move {
            let answer = if request.uri().path().starts_with("/grpc.") {
                layer.own(routes, request, activity.as_ref()).await
            } else {
                let open = activity.as_ref().map(Activity::begin);
                layer.admitted(routes, request, open).await.map(complete)
            };
            let response = answer.unwrap_or_else(Status::into_http);
            let response = match repetition {
                Some(repetition) => repetition.qualify(response),
                None => response,
            };
            record.end(code_of(&response));
            Ok(response)
        })
    }
}

impl GuardLayer {
    /// Who makes the call, if they may call `method`.
    fn caller(&self, request: &Request<Body>, method: &str) -> Result<Arc<Caller>, Status> {
        let nobody = Peer::default();
        let peer = request.extensions().get().unwrap_or(&nobody);
        self.access
            .caller(method, request.headers(), peer)
            .map_err(|refusal| status::refused(&refusal))
    }

    /// A call of gRPC's own services: grpc.health.v1 is open to all, grpc.reflection.* is not.
    async fn own(
        &self,
        routes: Routes,
        request: Request<Body>,
        activity: Option<&Arc<Activity>>,
    ) -> Result<Response<Body>, Status> {
        let watch = activity.map(|it| it.watch().ok_or_else(status::overloaded)).transpose()?;
        let request = if request.uri().path().starts_with("/grpc.health.") {
            request.map(arrival::in_time)
        } else {
            self.caller(&request, REFLECTION)?;
            request
        };
        let response = caught(routes.oneshot(request)).await?;
        Ok(response.map(|body| self.closing.ends(body, watch)))
    }

    /// A call of ours, if there is a place for it.
    async fn admitted(
        &self,
        routes: Routes,
        mut request: Request<Body>,
        open: Option<OpenCall>,
    ) -> Result<Response<Body>, Status> {
        let time_left = deadline::time_left(request.headers()).map_err(|deadline::Malformed| {
            status::invalid(vec![Violation::new(
                "grpc-timeout",
                "must be one to eight digits and one of H, M, S, m, u, n",
            )])
        })?;
        if time_left.is_some_and(|time_left| time_left.is_zero()) {
            return Err(status::deadline_exceeded(false));
        }
        let path = request.uri().path();
        let caller = self.caller(&request, path.strip_prefix('/').unwrap_or(path))?;
        let deadline = time_left.and_then(|time_left| Instant::now().checked_add(time_left));
        let method = request.uri().path_and_query().cloned();
        let call =
            self.in_flight.admit(method, caller, deadline, open).ok_or_else(status::overloaded)?;
        let sent = call.sent.clone();
        request.extensions_mut().insert(call);
        let request = request.map(arrival::in_time);
        let answer = caught(routes.oneshot(request));
        match deadline {
            None => answer.await,
            Some(deadline) => timeout_at(deadline, answer)
                .await
                .unwrap_or_else(|_| Err(status::deadline_exceeded(sent.get()))),
        }
    }
}

/// Turns a panic into a status. Left alone it would reset the stream, which callers see as `CANCELLED`.
async fn caught(
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Status> {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => Ok(response),
        Err(_) => Err(status::panicked()),
    }
}

/// Gives the errors that tonic makes by itself the details that every error of ours has.
fn complete(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            status::of_transport(&status).into_http()
        }
        _ => response,
    }
}

/// The code of an answer. One that is not an error up front has its code in the trailers: for our
/// unary calls that is `OK`.
fn code_of(response: &Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

/// Writes one line when a call ends, also when its caller goes away first.
struct Record {
    method: Option<PathAndQuery>,
    start: Instant,
    code: Code,
}

impl Record {
    fn start(request: &Request<Body>) -> Self {
        Self {
            method: request.uri().path_and_query().cloned(),
            start: Instant::now(),
            code: Code::Cancelled,
        }
    }

    fn end(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        tracing::debug!(
            method = self.method.as_ref().map(PathAndQuery::path),
            code = ?self.code,
            elapsed = ?self.start.elapsed(),
            "call ended"
        );
    }
}
