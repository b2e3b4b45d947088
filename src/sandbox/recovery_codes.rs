//! The operations on recovery codes.

use serde_json::{Value, json};

use super::{error::ApiError, fields::Fields, mint, session::SessionOptions, store::Store};

impl Store {
    /// `GET /v1/b2b/recovery_codes/{organization_id}/{member_id}`.
    pub(super) fn get_recovery_codes(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let index = self.find(fields)?;
        let codes = self.members[index.member].recovery_codes_mut();
        let codes = codes.ok_or(ApiError::RECOVERY_CODES_NOT_FOUND)?.clone();
        Ok(self.response(index, json!({"recovery_codes": codes})))
    }

    /// `POST /v1/b2b/recovery_codes/rotate`.
    pub(super) fn rotate_recovery_codes(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let index = self.find(fields)?;
        let codes = self.members[index.member].recovery_codes_mut();
        let codes = codes.ok_or(ApiError::NO_RECOVERY_CODES)?;
        *codes = mint::recovery_codes();
        let codes = codes.clone();
        Ok(self.changed_response(index, json!({"recovery_codes": codes})))
    }

    /// `POST /v1/b2b/recovery_codes/recover`.
    pub(super) fn recover(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let code = fields.required("recovery_code")?;
        let options = SessionOptions::from_fields(fields)?;
        let index = self.find(fields)?;
        self.members[index.member].check_may_authenticate()?;
        let token = self.member_token(fields, index)?.ok_or(ApiError::NO_SESSION_ARGUMENTS)?;
        let now = self.now();
        let (factor, left) = self.members[index.member].use_recovery_code(code, now)?;
        let mut body = self.complete(token, index, factor, &options);
        body.insert("recovery_codes_remaining".into(), json!(left));
        Ok(self.changed_response(index, body.into()))
    }
}
