//! The operations on recovery codes.

use serde_json::{Value, json};

use super::{error::ApiError, fields::Fields, mint, session::Wish, store::Store};

impl Store {
    /// `GET /v1/b2b/recovery_codes/{organization_id}/{member_id}`.
    pub(super) fn get_recovery_codes(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let place = self.find(fields)?;
        let codes = self.members[place.member].recovery_codes_mut();
        let codes = codes.ok_or(ApiError::RECOVERY_CODES_NOT_FOUND)?.clone();
        Ok(self.answer_about(
            place,
            [("recovery_codes".to_owned(), json!(codes))].into_iter().collect(),
        ))
    }

    /// `POST /v1/b2b/recovery_codes/rotate`.
    pub(super) fn rotate_recovery_codes(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let place = self.find(fields)?;
        let codes = self.members[place.member].recovery_codes_mut();
        let codes = codes.ok_or(ApiError::NO_RECOVERY_CODES)?;
        *codes = mint::recovery_codes();
        let codes = codes.clone();
        Ok(self.changed(place, json!({"recovery_codes": codes})))
    }

    /// `POST /v1/b2b/recovery_codes/recover`.
    pub(super) fn recover(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let code = fields.required("recovery_code")?;
        let wish = Wish::of(fields)?;
        let place = self.find(fields)?;
        self.check_may_authenticate(place)?;
        let proof = self.proof(fields, place)?.ok_or(ApiError::NO_PROOF)?;
        let now = self.now();
        let (factor, left) = self.members[place.member].spend_recovery_code(code, now)?;
        let mut answer = self.complete(proof, place, factor, &wish);
        answer.insert("recovery_codes_remaining".into(), json!(left));
        Ok(self.changed(place, answer.into()))
    }
}
