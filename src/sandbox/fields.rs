//! The fields of a request, whether it carries them in its JSON body, its path or its headers.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::{
    error::ApiError,
    object::{Object, text},
};

/// The fields of a request. Null counts as absent, and so does an empty string. A field of the
/// wrong type is a bad request.
#[derive(Debug)]
pub(super) struct Fields(pub(super) Object);

impl Fields {
    /// Returns a string that the request must have.
    pub(super) fn required(&self, key: &str) -> Result<&str, ApiError> {
        text(&self.0, key).ok_or(ApiError::BAD_REQUEST)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, ApiError> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(ApiError::BAD_REQUEST),
        }
    }

    /// Returns a boolean, `false` if it is absent.
    pub(super) fn boolean(&self, key: &str) -> Result<bool, ApiError> {
        match self.present(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or(ApiError::BAD_REQUEST),
        }
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<&Object>, ApiError> {
        match self.present(key) {
            None => Ok(None),
            Some(value) => value.as_object().map(Some).ok_or(ApiError::BAD_REQUEST),
        }
    }

    /// Returns a list of strings, empty if it is absent.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ApiError> {
        match self.present(key) {
            None => Ok(Vec::new()),
            Some(value) => serde_json::from_value(value.clone()).map_err(|_| ApiError::BAD_REQUEST),
        }
    }

    /// Returns a number of minutes, or `error` if it is out of `range`.
    pub(super) fn minutes(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        error: ApiError,
    ) -> Result<Option<u64>, ApiError> {
        match self.present(key) {
            None => Ok(None),
            Some(value) if value.is_i64() || value.is_u64() => match value.as_u64() {
                Some(minutes) if range.contains(&minutes) => Ok(Some(minutes)),
                _ => Err(error),
            },
            Some(_) => Err(ApiError::BAD_REQUEST),
        }
    }

    fn present(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }
}
