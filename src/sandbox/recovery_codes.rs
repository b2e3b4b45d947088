//! The operations on recovery codes.

use serde_json::{Value, json};

use super::{
    authentication, error::ApiError, fields::Fields, mint, session::SessionOptions, store::Store,
};

/// `GET /v1/b2b/recovery_codes/{organization_id}/{member_id}`.
pub(super) fn get(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let index = store.find(fields)?;
    let codes = store.members[index.member].recovery_codes_mut();
    let codes = codes.ok_or(ApiError::RECOVERY_CODES_NOT_FOUND)?.clone();
    Ok(store.response(index, json!({"recovery_codes": codes})))
}

/// `POST /v1/b2b/recovery_codes/rotate`.
pub(super) fn rotate(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let index = store.find(fields)?;
    let codes = store.members[index.member].recovery_codes_mut();
    let codes = codes.ok_or(ApiError::NO_RECOVERY_CODES)?;
    *codes = mint::recovery_codes();
    let codes = codes.clone();
    Ok(store.changed_response(index, json!({"recovery_codes": codes})))
}

/// `POST /v1/b2b/recovery_codes/recover`.
pub(super) fn recover(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let code = fields.required("recovery_code")?;
    let options = SessionOptions::from_fields(fields)?;
    let index = store.find(fields)?;
    store.members[index.member].check_may_authenticate()?;
    let token = authentication::member_token(store, fields, index)?
        .ok_or(ApiError::NO_SESSION_ARGUMENTS)?;
    let now = store.now();
    let (factor, left) = store.members[index.member].use_recovery_code(code, now)?;
    let mut body = authentication::complete(store, token, index, factor, &options);
    body.insert("recovery_codes_remaining".into(), json!(left));
    Ok(store.changed_response(index, body.into()))
}
