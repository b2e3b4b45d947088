//! The gRPC services. Each method checks its request, calls one endpoint and answers; what that means is
//! said once, in [`Handler`].

mod recovery_codes;
mod totp;
mod validate;

use std::sync::Arc;

use tonic::{
    Code, Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
    server::NamedService,
    service::Routes,
};

use crate::{
    access::Refusal,
    audit,
    call::{Call, RunToCompletion},
    idempotency::{Fingerprint, Idempotency, Key, Origin},
    proto::{
        StytchRequest, StytchResponse,
        metadata::{IDEMPOTENT_REPLAYED, STYTCH_REQUEST_ID},
        stytch::b2b::{
            recovery_codes::v1::recovery_codes_service_server::RecoveryCodesServiceServer,
            totp::v1::totp_service_server::TotpServiceServer,
        },
    },
    status::{self, Failure, Repetition},
    stytch::{Client, Effect, Endpoint, Error},
};
pub use recovery_codes::RecoveryCodes;
pub use totp::Totp;
pub use validate::{Validate, Violations};

/// The largest request that is read, in bytes. Ours take a few hundred; a session JWT some thousand.
pub const MAX_REQUEST: usize = 16 * 1024;

/// The services of the façade, with their names for health checks.
#[derive(Clone, Debug)]
pub struct Services {
    /// Routes each call to its handler.
    pub routes: Routes,
    /// The full names of the services behind `routes`.
    pub names: Vec<&'static str>,
}

impl Services {
    /// All services, made of one handler.
    pub fn new(handler: Handler) -> Self {
        let totp = TotpServiceServer::new(Totp::new(handler.clone()))
            .max_decoding_message_size(MAX_REQUEST);
        let recovery_codes = RecoveryCodesServiceServer::new(RecoveryCodes::new(handler))
            .max_decoding_message_size(MAX_REQUEST);
        Self {
            names: vec![name_of(&totp), name_of(&recovery_codes)],
            routes: Routes::new(totp).add_service(recovery_codes),
        }
    }
}

fn name_of<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}

/// What all services are made of: check, call, answer.
#[derive(Clone, Debug)]
pub struct Handler {
    client: Client,
    idempotency: Idempotency,
}

impl Handler {
    /// Calls Stytch through `client`, and what has an idempotency key once.
    pub fn new(client: Client, idempotency: Idempotency) -> Self {
        Self { client, idempotency }
    }

    /// Checks, calls, answers. Once sent, a call that changes something runs to its end even when the
    /// caller goes away.
    async fn answer<Req, Res>(
        &self,
        endpoint: &'static Endpoint<Req, Res>,
        mut request: Request<Req>,
    ) -> Result<Response<Res>, Status>
    where
        Req: prost::Message + Validate + StytchRequest + serde::Serialize + 'static,
        Res: prost::Message + Default + StytchResponse + serde::de::DeserializeOwned + 'static,
    {
        let call: Call = request
            .extensions_mut()
            .remove()
            .ok_or_else(|| Status::internal("served without the layers of server::run"))?;
        let (metadata, _, request) = request.into_parts();
        let mut violations = Violations::of(&request, endpoint);
        let (key, repetition) = match endpoint.effect {
            Effect::Mutates => (violations.key(&metadata), None),
            // A key says nothing of earlier attempts: it is not looked up.
            Effect::Reads => (None, Repetition::without_key(metadata.as_ref())),
        };
        violations.into_result()?;
        if !call.caller().may_act_for(request.organization_id()) {
            return Err(Failure::from(&Refusal::NotAllowed).into());
        }
        call.let_through();

        match key {
            None => {
                let qualified = |failure: Failure| {
                    repetition.and_then(|it| it.qualify(&failure)).unwrap_or(failure)
                };
                let result = self.ask(endpoint, request, call).await;
                respond(result.map_err(qualified), Origin::Fresh)
            }
            Some(key) => self.ask_once(endpoint, request, call, &key).await,
        }
    }

    async fn ask<Req, Res>(
        &self,
        endpoint: &'static Endpoint<Req, Res>,
        request: Req,
        call: Call,
    ) -> Result<Res, Failure>
    where
        Req: StytchRequest + serde::Serialize + Send + Sync + 'static,
        Res: StytchResponse + serde::de::DeserializeOwned + Send + 'static,
    {
        let (client, its) = (self.client.clone(), call.clone());
        let work =
            async move { ask(&client, endpoint, &request, &its, audit::Idempotency::None).await };
        match endpoint.effect {
            Effect::Mutates => RunToCompletion::new(call, work).await,
            Effect::Reads => work.await,
        }
    }

    /// The same, unless a call with this key has been made. What a call was told before is in the audit trail
    /// once more, for its answer is given out once more.
    async fn ask_once<Req, Res>(
        &self,
        endpoint: &'static Endpoint<Req, Res>,
        request: Req,
        call: Call,
        key: &Key,
    ) -> Result<Response<Res>, Status>
    where
        Req: prost::Message + StytchRequest + serde::Serialize + 'static,
        Res: prost::Message + Default + StytchResponse + serde::de::DeserializeOwned + 'static,
    {
        let fingerprint = Fingerprint::of(&request);
        let request = Arc::new(request);
        let (client, its) = (self.client.clone(), Arc::clone(&request));
        let work = async move |call: Call| {
            ask(&client, endpoint, &*its, &call, audit::Idempotency::Fresh).await
        };
        let (result, origin) = self.idempotency.run(key, fingerprint, &call, work).await;
        if origin == Origin::Replayed {
            audit::Entry::new(&call, &*request, audit::Idempotency::Replayed).end(&result);
        }
        respond(result, origin)
    }
}

/// One call to Stytch.
async fn ask<Req, Res>(
    client: &Client,
    endpoint: &'static Endpoint<Req, Res>,
    request: &Req,
    call: &Call,
    idempotency: audit::Idempotency,
) -> Result<Res, Failure>
where
    Req: StytchRequest + serde::Serialize,
    Res: StytchResponse + serde::de::DeserializeOwned,
{
    let entry = match endpoint.effect {
        Effect::Mutates => Some(audit::Entry::new(call, request, idempotency)),
        Effect::Reads => None,
    };
    let result = client.call(endpoint, request, &call.gate, call.deadline).await;
    let result = result.map_err(|error| {
        let failure = Failure::upstream(&error, endpoint.effect, request);
        report(endpoint.path, &error, failure.code());
        failure
    });
    if let Some(entry) = entry {
        entry.end(&result);
    }
    result
}

/// The answer with its metadata, or the failure with its.
fn respond<Res: StytchResponse>(
    result: Result<Res, Failure>,
    origin: Origin,
) -> Result<Response<Res>, Status> {
    let replayed = |metadata: &mut MetadataMap| {
        if origin == Origin::Replayed {
            metadata.insert(IDEMPOTENT_REPLAYED, MetadataValue::from_static("true"));
        }
    };
    match result {
        Ok(answer) => {
            let request_id = status::request_id(answer.request_id());
            let mut response = Response::new(answer);
            if let Some(request_id) = request_id {
                response.metadata_mut().insert(STYTCH_REQUEST_ID, request_id);
            }
            replayed(response.metadata_mut());
            Ok(response)
        }
        Err(failure) => {
            let mut status = Status::from(failure);
            replayed(status.metadata_mut());
            Err(status)
        }
    }
}

/// Logs a failed upstream call with its cause, which the caller is not told. A refusal of what a caller
/// asked for is no cause for alarm.
fn report(path: &str, error: &Error, code: Code) {
    let (upstream, request_id) = (error.upstream().as_str(), error.request_id());
    let (is_failure, code) = (status::is_failure(code), status::code_name(code));
    let cause: &dyn std::error::Error = error;
    if matches!(error, Error::CircuitOpen { .. }) {
        // The breaker has said so once, and counts.
        tracing::debug!(path, code, upstream, error = cause, "upstream call not made");
    } else if is_failure {
        tracing::warn!(path, code, upstream, request_id, error = cause, "upstream call failed");
    } else {
        tracing::info!(path, code, upstream, request_id, error = cause, "upstream call refused");
    }
}
