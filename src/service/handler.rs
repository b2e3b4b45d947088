//! What every method does: validate the request, call Stytch, respond.

use std::sync::Arc;

use futures_util::future::Either;
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::{
    body::WholeBody,
    validate::{Validate, Violations},
};
use crate::{
    audit,
    call::{Call, RunToCompletion},
    idempotency::{Fingerprint, Idempotency, Key, Origin},
    proto::{
        CODES, StytchRequest,
        metadata::{IDEMPOTENT_REPLAYED, STYTCH_REQUEST_ID},
    },
    status::{self, Case, Failure},
    stytch::{Client, Effect, Endpoint, Error, Upstream},
    telemetry::{
        limit::ByCaller,
        trace::attributes::{
            IDEMPOTENCY, MEMBER_ID, ORGANIZATION_ID, TOTP_REGISTRATION_ID, UPSTREAM,
        },
    },
    translate::{Encoded, FromJson},
};

/// Handles the calls of all services. Clones share its connections and its idempotency store.
#[derive(Clone, Debug)]
pub struct Handler {
    client: Client,
    idempotency: Idempotency,
}

impl Handler {
    /// Creates a handler that calls Stytch through `client`, and makes calls with the same
    /// idempotency key once.
    pub fn new(client: Client, idempotency: Idempotency) -> Self {
        Self { client, idempotency }
    }

    /// Waits until the outcomes of the calls that have ended are stored, but not beyond this time.
    pub async fn settle_by(&self, until: Instant) {
        self.idempotency.settle_by(until).await;
    }

    /// Handles one call to `endpoint`. A mutating call that was sent runs to completion even if the
    /// caller goes away.
    pub(super) async fn handle<Req, Res>(
        &self,
        endpoint: &'static Endpoint<Req, Res>,
        mut request: Request<Req>,
    ) -> Result<Response<Encoded<Res>>, Status>
    where
        Req: prost::Message + Validate + StytchRequest + serde::Serialize + 'static,
        Res: FromJson + 'static,
    {
        let call: Call = request
            .extensions_mut()
            .remove()
            .ok_or_else(|| Status::internal("the request did not pass server::Guard"))?;
        let (metadata, _, request) = request.into_parts();
        let mut violations = Violations::of(&request, endpoint);
        let key = match endpoint.effect {
            Effect::Mutates => violations.key(&metadata),
            Effect::Reads => None,
        };
        violations.into_result()?;
        let authorized = call.caller().authorize_for(request.organization_id());
        authorized.map_err(|refusal| Failure::from(&refusal))?;
        call.trace().record_ids(|span| {
            span.set(ORGANIZATION_ID, request.organization_id().to_owned());
            span.set(MEMBER_ID, request.member_id().to_owned());
        });
        if endpoint.effect == Effect::Mutates && audit::is_backed_up() {
            return Err(Failure::from(Case::AuditTrailBlocked).into());
        }
        call.mark_forwarded();

        match key {
            None => {
                call.trace().record(|span| span.set(IDEMPOTENCY, "none"));
                respond(self.call(endpoint, request, call).await, Origin::Fresh)
            }
            Some(key) => self.call_once(endpoint, request, call, &key).await,
        }
    }

    /// Makes the call. The work is boxed here rather than in an `async fn`, whose future would hold
    /// it once more.
    fn call<Req, Res>(
        &self,
        endpoint: &'static Endpoint<Req, Res>,
        request: Req,
        call: Call,
    ) -> impl Future<Output = Result<Encoded<Res>, Failure>> + Send + use<Req, Res>
    where
        Req: StytchRequest + serde::Serialize + Send + Sync + 'static,
        Res: FromJson + 'static,
    {
        let (client, handle) = (self.client.clone(), call.clone());
        let work = async move {
            call_stytch(&client, endpoint, &request, &handle, audit::Idempotency::None).await
        };
        match endpoint.effect {
            Effect::Mutates => Either::Left(RunToCompletion::new(call, work)),
            Effect::Reads => Either::Right(Box::pin(work)),
        }
    }

    /// Makes the call, or replays the response to an earlier call with the same key. A replay gets
    /// an audit event of its own, because it discloses the response again.
    async fn call_once<Req, Res>(
        &self,
        endpoint: &'static Endpoint<Req, Res>,
        request: Req,
        call: Call,
        key: &Key,
    ) -> Result<Response<Encoded<Res>>, Status>
    where
        Req: prost::Message + StytchRequest + serde::Serialize + 'static,
        Res: FromJson + 'static,
    {
        let fingerprint = Fingerprint::of(&request);
        let request = Arc::new(request);
        let (client, sent) = (self.client.clone(), Arc::clone(&request));
        let work = async move |call: Call| {
            let idempotency = audit::Idempotency::Fresh;
            let result = call_stytch(&client, endpoint, &*sent, &call, idempotency).await;
            result.map(Encoded::cast)
        };
        let (result, origin) = self.idempotency.run(key, fingerprint, &call, work).await;
        let result = result.map(Encoded::cast);
        if origin == Origin::Replayed {
            audit::Entry::new(&call, &*request, audit::Idempotency::Replayed).finish(&result);
        }
        respond(result, origin)
    }
}

/// Calls Stytch, audits a mutating call and logs a failure.
async fn call_stytch<Req, Res>(
    client: &Client,
    endpoint: &'static Endpoint<Req, Res>,
    request: &Req,
    call: &Call,
    idempotency: audit::Idempotency,
) -> Result<Encoded<Res>, Failure>
where
    Req: StytchRequest + serde::Serialize,
    Res: FromJson,
{
    let entry = match endpoint.effect {
        Effect::Mutates => Some(audit::Entry::new(call, request, idempotency)),
        Effect::Reads => None,
    };
    let result = client.call(endpoint, request, &call.gate, call.deadline, call.trace()).await;
    let result = result.map_err(|error| {
        let failure = Failure::upstream(&error, endpoint.effect, request);
        report(endpoint.path, &error, failure.code());
        failure
    });
    if let Some(entry) = entry {
        entry.finish(&result);
    }
    trace(call, &result);
    result
}

/// Records in the span of a call what is known about it, even if its caller has gone by then.
fn trace<Res: FromJson>(call: &Call, result: &Result<Encoded<Res>, Failure>) {
    call.trace().record(|span| {
        let upstream = match result {
            Ok(_) => "done",
            Err(failure) => failure.facts().upstream.unwrap_or(Upstream::Unknown).as_str(),
        };
        span.set(UPSTREAM, upstream);
    });
    call.trace().record_ids(|span| {
        let id = result.as_ref().ok().and_then(|it| it.text("totp_registration_id"));
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            span.set(TOTP_REGISTRATION_ID, id.to_owned());
        }
    });
}

/// Builds the gRPC response, with metadata that says whether it is a replay.
fn respond<Res: FromJson>(
    result: Result<Encoded<Res>, Failure>,
    origin: Origin,
) -> Result<Response<Encoded<Res>>, Status> {
    let mark_replay = |metadata: &mut MetadataMap| {
        if origin == Origin::Replayed {
            metadata.insert(IDEMPOTENT_REPLAYED, MetadataValue::from_static("true"));
        }
    };
    match result {
        Ok(message) => {
            let request_id = message.request_id().and_then(status::request_id);
            let body = WholeBody::of(message.clone());
            let mut response = Response::new(message);
            response.extensions_mut().insert(body);
            if let Some(request_id) = request_id {
                response.metadata_mut().insert(STYTCH_REQUEST_ID, request_id);
            }
            mark_replay(response.metadata_mut());
            Ok(response)
        }
        Err(failure) => {
            let mut status = Status::from(failure);
            mark_replay(status.metadata_mut());
            Err(status)
        }
    }
}

/// Logs a failed call to Stytch with its cause, which the response does not contain, at a bounded
/// rate for each code and caller. A refusal of the request is no failure of a service, so its level
/// is lower.
fn report(path: &str, error: &Error, code: Code) {
    static LIMITS: [ByCaller; CODES] = [const { ByCaller::new() }; CODES];

    let (upstream, request_id) = (error.upstream().as_str(), error.request_id());
    let name = status::code_name(code);
    if matches!(error, Error::CircuitOpen { .. }) {
        // The circuit breaker logs when it opens, and counts refusals.
        tracing::debug!(path, code = name, upstream, %error, "upstream call not made");
        return;
    }
    let Some(suppressed) = LIMITS[code as usize].pass() else { return };
    let error = error.in_full();
    if status::is_failure(code) {
        tracing::warn!(
            path,
            code = name,
            upstream,
            request_id,
            suppressed,
            error,
            "upstream call failed"
        );
    } else {
        tracing::info!(
            path,
            code = name,
            upstream,
            request_id,
            suppressed,
            error,
            "upstream call refused"
        );
    }
}
