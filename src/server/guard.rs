//! The service around every call on a connection: protocol checks, authentication, admission,
//! deadline, panics, and the log record.
//!
//! It is one service rather than a stack of layers, so that all of it costs a call one future, in
//! one allocation. Health and reflection bypass admission and deadline, because a full server must
//! still answer its probes. Their streams end when the connection is asked to close, because an
//! open `Health.Watch` would keep it open forever.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
};

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt as _;

use super::{
    answer::Answer,
    arrival, deadline,
    measure::{Counts, Measure},
    method::Method,
    protocol, refusals, streams,
    traced::Traced,
};
use crate::{
    access::{Access, Caller, REFLECTION},
    call::InFlight,
    connection::{Activity, Peer},
    proto::{
        Rpc,
        metadata::{IDEMPOTENT_REPLAYED, STYTCH_REQUEST_ID},
    },
    service::WholeBody,
    status::{Case, Failure, Retried, Violation, code_name},
    telemetry::{
        self, Owed,
        access_log::{Facts, Record},
        calls::{InScope, Scope},
        trace::Tracer,
    },
};

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) routes: Routes,
    pub(super) access: Access,
    pub(super) in_flight: InFlight,
    pub(super) tracer: Tracer,
    pub(super) counts: Arc<Counts>,
}

/// Serves the calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    activity: Arc<Activity>,
    /// Whether the connection is from a listed proxy.
    is_proxy: bool,
    /// How many calls of the connection are served at a time. HTTP/2 lets it have more streams: a
    /// call that waits for its audit event holds a stream but no turn, so that calls which owe none
    /// are served meanwhile. Others wait for their turn, as they would at the client for a stream.
    turns: Arc<Semaphore>,
}

impl Guard {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: Peer,
        activity: Arc<Activity>,
        is_proxy: bool,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(shared.in_flight.share()));
        Self { shared, peer: Arc::new(peer), activity, is_proxy, turns }
    }
}

impl Service<Request<Incoming>> for Guard {
    type Response = Response<Body>;
    type Error = Infallible;
    // The call is boxed and not its scope, so that it is moved once.
    type Future = InScope<Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let guard = self.clone();
        // Counts from here on, not from the first poll of the future.
        let pending = self.activity.begin_request();
        let method = Method::of(&request);
        let traced = Traced::begin(&self.shared.tracer, method, request.headers(), &self.peer);
        let scope = Scope::new(method.name(), traced.trace().ids());
        scope.run(Box::pin(async move {
            // Dropped in this order from the end: the span has ended when the request no longer
            // counts.
            let _pending = pending;
            let mut traced = traced;
            let mut record = Record::start(method.name(), guard.peer.addr);
            if let Some(response) = protocol::refusal(&request) {
                guard.shared.counts.refuse_foreign();
                refusals::log_foreign(response.status().as_u16(), guard.peer.addr);
                record.finish(code_name(Answer::FOREIGN.code), Facts::default);
                traced.answer(&Answer::FOREIGN);
                return Ok(response);
            }
            let mut measure = Measure::start(
                &guard.shared.counts,
                method.rpc(),
                record.started(),
                traced.recorded(),
            );
            let retried = Retried::of(method.rpc(), request.headers());
            let response =
                guard.respond(method, request.map(Body::new), &traced, &mut measure).await;
            let response = response.unwrap_or_else(|failure| Status::from(failure).into_http());
            let (response, failure) = with_details(response, retried);
            if let Some(failure) = &failure {
                refusals::log(failure, guard.peer.addr);
            }
            let answer = Answer::of(&response, failure.as_ref());
            record.finish(code_name(answer.code), || facts(method, &response, &answer));
            traced.answer(&answer);
            Ok(measure.finish(response, &answer))
        }))
    }
}

impl Guard {
    async fn respond(
        &self,
        method: Method,
        request: Request<Body>,
        traced: &Traced,
        measure: &mut Measure<'_>,
    ) -> Result<Response<Body>, Failure> {
        if protocol::is_too_large(&request) {
            return Err(Failure::from(Case::TooLarge).saying("the metadata is larger than 16 KiB"));
        }
        match method {
            Method::Contract(rpc) => self.serve_call(rpc.name(), request, traced, measure).await,
            Method::HealthCheck => {
                let request = without_metadata(request).map(arrival::single_message);
                catch_panic(self.shared.routes.clone().oneshot(request)).await
            }
            Method::HealthWatch => {
                self.serve_stream(without_metadata(request).map(arrival::single_message)).await
            }
            Method::Reflection(_) => {
                self.authorize(REFLECTION, &request, traced, measure)?;
                self.serve_stream(request.map(arrival::messages)).await
            }
            Method::Unknown { of_health: true } => Err(no_such_method()),
            Method::Unknown { of_health: false } => {
                self.authorize(Rpc::OTHER.name(), &request, traced, measure)?;
                Err(no_such_method())
            }
        }
    }

    /// Authenticates the caller, and authorizes it to call `method`.
    fn authorize(
        &self,
        method: &str,
        request: &Request<Body>,
        traced: &Traced,
        measure: &mut Measure<'_>,
    ) -> Result<Arc<Caller>, Failure> {
        let refused = |refusal| Failure::from(&refusal);
        let caller = self.shared.access.identify(request.headers(), &self.peer).map_err(refused)?;
        traced.identify(&caller);
        measure.set_caller(&caller);
        caller.authorize(method).map_err(refused)?;
        Ok(caller)
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
        traced: &Traced,
        measure: &mut Measure<'_>,
    ) -> Result<Response<Body>, Failure> {
        let time_left = deadline::time_left(request.headers()).map_err(|deadline::Malformed| {
            let what = "must be one to eight digits and one of H, M, S, m, u, n";
            Failure::invalid(vec![Violation::new("grpc-timeout", what)], 0)
        })?;
        if time_left.is_some_and(|time_left| time_left.is_zero()) {
            return Err(Failure::deadline_exceeded(false));
        }
        let caller = self.authorize(method, &request, traced, measure)?;
        let deadline = time_left.and_then(|time_left| Instant::now().checked_add(time_left));
        // No error: the semaphore is never closed.
        let turn = self.turns.acquire();
        let turn = match deadline {
            None => turn.await,
            Some(deadline) => {
                timeout_at(deadline, turn).await.map_err(|_| Failure::deadline_exceeded(false))?
            }
        };
        let call = self
            .shared
            .in_flight
            .admit(
                method,
                caller,
                deadline,
                Some(self.activity.begin_call()),
                traced.trace().clone(),
            )
            .ok_or(Case::Overloaded)?;
        let gate = call.gate.clone();
        measure.set_gate(&gate);
        request.extensions_mut().insert(call);
        let request = request.map(arrival::single_message);
        let in_time = {
            // Pinned, because each move of the future would add its size to this one.
            let response = pin!(catch_panic(self.shared.routes.clone().oneshot(request)));
            match deadline {
                None => Ok(response.await),
                Some(deadline) => timeout_at(deadline, response).await,
            }
        };
        // By now the request is dropped, if it is late: the gate knows whether it was sent.
        let response = in_time.unwrap_or_else(|_| {
            traced.deadline_passed();
            Err(Failure::deadline_exceeded(gate.close()))
        });
        drop(turn);
        self.record(deadline).await;
        response.map(WholeBody::replace_body)
    }

    /// Has the audit event of the current call written, if it owes one, before its response leaves
    /// the process. While standard error takes nothing, waits until the caller's deadline: then the
    /// response says what is known, and the event is written later.
    async fn record(&self, deadline: Option<Instant>) {
        match telemetry::owed() {
            Owed::Nothing => {}
            Owed::ByConnection(event) => self.activity.owe(event),
            Owed::ByCall(event) => {
                // The call holds no permit any more, but its connection must not be dropped.
                let _open = self.activity.begin_wait();
                let written = telemetry::written(event);
                match deadline {
                    None => written.await,
                    Some(deadline) => drop(timeout_at(deadline, written).await),
                }
            }
        }
    }
}

/// Drops the metadata that health checks do not read. Anybody may keep many of them open by sending
/// no message, and metadata takes more memory than bytes on the wire.
fn without_metadata(mut request: Request<Body>) -> Request<Body> {
    let mut metadata = std::mem::take(request.headers_mut());
    for name in ["grpc-encoding", "grpc-accept-encoding"] {
        let value = metadata.remove(name);
        value.map(|value| request.headers_mut().insert(name, value));
    }
    request
}

/// Turns a panic into a failure. Uncaught, it would reset the stream, which callers see as
/// `CANCELLED`.
async fn catch_panic(
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

/// Completes an error response: adds details to an error that tonic made, and qualifies a failure
/// of a retried call, so that it claims no more than is known about all attempts. Returns what is
/// known about this attempt, too.
fn with_details(
    mut response: Response<Body>,
    retried: Option<Retried>,
) -> (Response<Body>, Option<Failure>) {
    let Some(status) = response.extensions_mut().remove::<Status>() else {
        return (response, None);
    };
    let is_replayed = response.headers().contains_key(IDEMPOTENT_REPLAYED);
    let retried = retried.filter(|_| !is_replayed);
    let (failure, is_written) = match Failure::of(&status) {
        Some(failure) => (failure.clone(), true),
        None if status.code() != Code::Ok && status.details().is_empty() => {
            (Failure::of_transport(&status), false)
        }
        None => return (response, None),
    };
    let qualified = retried.and_then(|it| it.qualify(&failure));
    let unwritten = qualified.or_else(|| (!is_written).then(|| failure.clone()));
    let Some(unwritten) = unwritten else { return (response, Some(failure)) };
    let mut complete: Response<Body> = Status::from(unwritten).into_http();
    // Keeps other headers, such as the compressions that tonic supports.
    for (name, value) in response.headers() {
        complete.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    (complete, Some(failure))
}

/// Returns what the access log shows of a response.
fn facts(method: Method, response: &Response<Body>, answer: &Answer<'_>) -> Facts {
    let request_id = response.headers().get(STYTCH_REQUEST_ID);
    let is_of_contract = matches!(method, Method::Contract(_));
    Facts {
        reason: answer.reason(),
        upstream: is_of_contract.then(|| answer.outcome.as_str()),
        request_id: request_id.and_then(|id| id.to_str().ok()).map(ToOwned::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_holds_only_the_metadata_that_is_read() {
        let mut request = Request::new(Body::empty());
        for number in 0..400 {
            request.headers_mut().append("a", number.into());
        }
        request.headers_mut().insert("grpc-encoding", "identity".parse().unwrap());

        let request = without_metadata(request);

        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()["grpc-encoding"], "identity");
        assert!(request.headers().capacity() < 10, "{}", request.headers().capacity());
    }
}
