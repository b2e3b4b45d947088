//! `stytch.b2b.totp.v1.TotpService`.

use tonic::{Request, Response, Status, async_trait};

use super::{Validate, Violations, answer};
use crate::{
    proto::stytch::b2b::totp::v1::{
        CreateRequest, CreateResponse, totp_service_server::TotpService,
    },
    stytch::{Client, endpoint},
};

/// The service on top of a client.
#[derive(Clone, Debug)]
pub struct Totp {
    client: Client,
}

impl Totp {
    /// Answers calls by calling Stytch through `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl TotpService for Totp {
    async fn create(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<Response<CreateResponse>, Status> {
        answer(&self.client, &endpoint::TOTP_CREATE, request).await
    }
}

impl Validate for CreateRequest {
    fn validate(&self, violations: &mut Violations) {
        violations.id("organization_id", &self.organization_id);
        violations.id("member_id", &self.member_id);
        violations.minutes("expiration_minutes", self.expiration_minutes, 5..=1440);
        violations.token("intermediate_session_token", self.intermediate_session_token.as_deref());
        violations.token("session_token", self.session_token.as_deref());
        violations.token("session_jwt", self.session_jwt.as_deref());
    }
}
