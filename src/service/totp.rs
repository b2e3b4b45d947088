//! `stytch.b2b.totp.v1.TotpService`.

use tonic::{Request, Response, Status, async_trait};

use super::{
    generated::totp_service_server::TotpService,
    handler::Handler,
    validate::{Validate, Violations},
};
use crate::{
    proto::stytch::b2b::totp::v1::{
        AuthenticateRequest, AuthenticateResponse, CreateRequest, CreateResponse, DeleteRequest,
        DeleteResponse, MigrateRequest, MigrateResponse,
    },
    stytch::endpoint,
    translate::Encoded,
};

/// The service, implemented by a [`Handler`].
#[derive(Clone, Debug)]
pub struct Totp {
    handler: Handler,
}

impl Totp {
    /// Creates the service from its handler.
    pub fn new(handler: Handler) -> Self {
        Self { handler }
    }
}

#[async_trait]
impl TotpService for Totp {
    async fn create(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<Response<Encoded<CreateResponse>>, Status> {
        self.handler.handle(&endpoint::TOTP_CREATE, request).await
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<Encoded<AuthenticateResponse>>, Status> {
        self.handler.handle(&endpoint::TOTP_AUTHENTICATE, request).await
    }

    async fn migrate(
        &self,
        request: Request<MigrateRequest>,
    ) -> Result<Response<Encoded<MigrateResponse>>, Status> {
        self.handler.handle(&endpoint::TOTP_MIGRATE, request).await
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<Encoded<DeleteResponse>>, Status> {
        self.handler.handle(&endpoint::TOTP_DELETE, request).await
    }
}

impl Validate for CreateRequest {
    fn validate(&self, violations: &mut Violations) {
        violations.minutes("expiration_minutes", self.expiration_minutes, 5..=1440);
        violations.proofs([
            ("intermediate_session_token", self.intermediate_session_token.as_deref()),
            ("session_token", self.session_token.as_deref()),
            ("session_jwt", self.session_jwt.as_deref()),
        ]);
    }
}

impl Validate for AuthenticateRequest {
    fn validate(&self, violations: &mut Violations) {
        violations.passcode("code", &self.code);
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
        let options = ["enroll", "unenroll"];
        violations.option("set_mfa_enrollment", self.set_mfa_enrollment.as_deref(), &options);
    }
}

impl Validate for MigrateRequest {
    fn validate(&self, violations: &mut Violations) {
        violations.required("secret", &self.secret);
        violations.all_required("recovery_codes", &self.recovery_codes);
    }
}

impl Validate for DeleteRequest {
    fn validate(&self, violations: &mut Violations) {
        violations.header("session_token", self.session_token.as_deref());
        violations.header("session_jwt", self.session_jwt.as_deref());
    }
}
