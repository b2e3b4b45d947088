//! JSON objects, the form in which the sandbox holds Stytch's members and organizations.

use serde_json::Value;

/// A JSON object.
pub(super) type Object = serde_json::Map<String, Value>;

/// Returns the string at `key`. An empty string counts as absent.
pub(super) fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// Whether the value at `key` is `true`.
pub(super) fn is_true(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool) == Some(true)
}

/// Whether an organization lets its members use TOTPs.
pub(super) fn allows_totp(organization: &Object) -> bool {
    let methods = organization.get("allowed_mfa_methods").and_then(Value::as_array);
    text(organization, "mfa_methods") != Some("RESTRICTED")
        || methods.is_some_and(|methods| methods.iter().any(|method| method == "totp"))
}

/// Returns the object in `value`.
///
/// # Panics
///
/// If `value` is not an object, as it always is when written with `json!({…})`.
pub(super) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => unreachable!("written as an object"),
    }
}
