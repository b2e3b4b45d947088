//! The gRPC services. Each handler checks its request, calls one endpoint and answers; what that
//! means is said once, in `answer`.

mod recovery_codes;
mod totp;
mod validate;

use tonic::{
    Code, Request, Response, Status, metadata::MetadataValue, server::NamedService, service::Routes,
};

use crate::{
    call::{Call, ToItsEnd},
    proto::{
        StytchRequest, StytchResponse,
        stytch::b2b::{
            recovery_codes::v1::recovery_codes_service_server::RecoveryCodesServiceServer,
            totp::v1::totp_service_server::TotpServiceServer,
        },
    },
    status,
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
    /// All services, on one client.
    pub fn new(client: &Client) -> Self {
        let totp = TotpServiceServer::new(Totp::new(client.clone()))
            .max_decoding_message_size(MAX_REQUEST);
        let recovery_codes = RecoveryCodesServiceServer::new(RecoveryCodes::new(client.clone()))
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

/// Checks, calls, answers. Once sent, a call that changes something runs to its end even when the
/// caller goes away.
async fn answer<Req, Res>(
    client: &Client,
    endpoint: &'static Endpoint<Req, Res>,
    mut request: Request<Req>,
) -> Result<Response<Res>, Status>
where
    Req: Validate + StytchRequest + serde::Serialize + Send + Sync + 'static,
    Res: StytchResponse + serde::de::DeserializeOwned + Send + 'static,
{
    let call: Call = request
        .extensions_mut()
        .remove()
        .ok_or_else(|| Status::internal("served without the layers of server::run"))?;
    let request = request.into_inner();
    Violations::of(&request, endpoint).into_result()?;

    let (client, sent, deadline) = (client.clone(), call.sent.clone(), call.deadline);
    let upstream = async move {
        client.call(endpoint, &request, &sent, deadline).await.map_err(|error| {
            let status = status::upstream(&error, endpoint.effect, &request);
            report(endpoint.path, &error, status.code());
            status
        })
    };
    let answer = match endpoint.effect {
        Effect::Mutates => ToItsEnd::new(call, upstream).await?,
        Effect::Reads => upstream.await?,
    };
    let request_id = MetadataValue::try_from(answer.request_id());
    let mut response = Response::new(answer);
    if let Ok(request_id) = request_id {
        response.metadata_mut().insert(status::REQUEST_ID, request_id);
    }
    Ok(response)
}

/// Logs a failed upstream call with its cause, which the caller is not told. A refusal of what a caller
/// asked for is no cause for alarm.
fn report(path: &str, error: &Error, code: Code) {
    let (upstream, request_id) = (error.upstream().as_str(), error.request_id());
    let (is_failure, code) = (status::is_failure(code), status::code_name(code));
    let cause: &dyn std::error::Error = error;
    if is_failure {
        tracing::warn!(path, code, upstream, request_id, error = cause, "upstream call failed");
    } else {
        tracing::info!(path, code, upstream, request_id, error = cause, "upstream call refused");
    }
}
