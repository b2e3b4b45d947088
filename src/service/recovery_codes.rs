//! `stytch.b2b.recovery_codes.v1.RecoveryCodesService`.

use tonic::{Request, Response, Status, async_trait};

use super::{
    generated::recovery_codes_service_server::RecoveryCodesService,
    handler::Handler,
    validate::{Validate, Violations},
};
use crate::{
    proto::stytch::b2b::recovery_codes::v1::{
        GetRequest, GetResponse, RecoverRequest, RecoverResponse, RotateRequest, RotateResponse,
    },
    stytch::endpoint,
    translate::Encoded,
};

/// The service, implemented by a [`Handler`].
#[derive(Clone, Debug)]
pub struct RecoveryCodes {
    handler: Handler,
}

impl RecoveryCodes {
    /// Creates the service from its handler.
    pub fn new(handler: Handler) -> Self {
        Self { handler }
    }
}

#[async_trait]
impl RecoveryCodesService for RecoveryCodes {
    async fn get(
        &self,
        request: Request<GetRequest>,
    ) -> Result<Response<Encoded<GetResponse>>, Status> {
        self.handler.handle(&endpoint::RECOVERY_CODES_GET, request).await
    }

    async fn rotate(
        &self,
        request: Request<RotateRequest>,
    ) -> Result<Response<Encoded<RotateResponse>>, Status> {
        self.handler.handle(&endpoint::RECOVERY_CODES_ROTATE, request).await
    }

    async fn recover(
        &self,
        request: Request<RecoverRequest>,
    ) -> Result<Response<Encoded<RecoverResponse>>, Status> {
        self.handler.handle(&endpoint::RECOVERY_CODES_RECOVER, request).await
    }
}

impl Validate for GetRequest {}

impl Validate for RotateRequest {}

impl Validate for RecoverRequest {
    fn validate(&self, violations: &mut Violations) {
        violations.required("recovery_code", &self.recovery_code);
        violations.one_proof([
            ("intermediate_session_token", self.intermediate_session_token.as_deref()),
            ("session_token", self.session_token.as_deref()),
            ("session_jwt", self.session_jwt.as_deref()),
        ]);
        violations.session(
            self.session_duration_minutes,
            self.session_custom_claims.as_ref(),
            self.telemetry_id.as_deref(),
        );
    }
}
