//! The form of a value: what can be said of it without showing it, and compared between two runs
//! whose ids, secrets and times differ.

use serde_json::Value;

use super::observation::shown;

/// The fields whose text is a word of Stytch's, which is shown and compared.
const WORDS: [&str; 7] = [
    "delivery_method",
    "default_mfa_method",
    "mfa_methods",
    "mfa_policy",
    "sequence_order",
    "status",
    "type",
];

/// The fields whose text is a token, in a form that is nobody's business.
const TOKENS: [&str; 2] = ["intermediate_session_token", "session_token"];

/// Describes the value of a field. Never shows a text that could be a secret or an id.
pub(super) fn form(field: &str, value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(word) if WORDS.contains(&field) => format!("{:?}", shown(word)),
        Value::String(_) if TOKENS.contains(&field) => "a token".to_owned(),
        Value::String(text) => of_text(text),
    }
}

fn of_text(text: &str) -> String {
    if let Some(prefix) = before_uuid(text) {
        return format!("an id {}…", shown(prefix));
    }
    if humantime::parse_rfc3339(text).is_ok() {
        let has_decimals = text.contains('.');
        return if has_decimals { "a time with decimals" } else { "a time" }.to_owned();
    }
    if text.starts_with("data:image/png;base64, ") {
        return "a PNG, with a blank before its base64".to_owned();
    }
    let is = |allowed: fn(&u8) -> bool| text.as_bytes().iter().all(allowed);
    if text.starts_with("data:image/png;base64,") {
        "a PNG".to_owned()
    } else if text.starts_with("ey") && text.matches('.').count() == 2 {
        "a JWT".to_owned()
    } else if text.len() >= 16 && is(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) {
        format!("base32 of {} characters", text.len())
    } else if text.split('-').map(str::len).eq([4, 4, 4]) && is(|it| *it == b'-' || is_code(*it)) {
        "a code xxxx-xxxx-xxxx".to_owned()
    } else {
        "a text".to_owned()
    }
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Returns what stands before the UUID that a text ends with.
fn before_uuid(text: &str) -> Option<&str> {
    let at = text.len().checked_sub(36)?;
    let (prefix, id) = text.is_char_boundary(at).then(|| text.split_at(at))?;
    uuid::Uuid::try_parse(id).is_ok().then_some(prefix)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_tells_kinds_apart_and_shows_no_value() {
        let id = "member-test-32fc5024-9c09-4da3-bd2e-c9ce4da9375f";
        for (field, value, expected) in [
            ("name", json!(null), "null"),
            ("mfa_enrolled", json!(true), "true"),
            ("recovery_codes_remaining", json!(9), "9"),
            ("status", json!("active"), "\"active\""),
            ("status", json!("a long and strange status"), "\"(another text)\""),
            ("member_id", json!(id), "an id member-test-…"),
            ("member_id", json!(&id[12..]), "an id …"),
            ("created_at", json!("2026-01-01T12:00:00Z"), "a time"),
            ("created_at", json!("2026-01-01T12:00:00.5Z"), "a time with decimals"),
            ("qr_code", json!("data:image/png;base64,AAAA"), "a PNG"),
            (
                "qr_code",
                json!("data:image/png;base64, AA"),
                "a PNG, with a blank before its base64",
            ),
            ("secret", json!("ABCDEFGHIJKLMNOPABCDEFGHIJKLMNOP"), "base32 of 32 characters"),
            ("session_jwt", json!("eyJh.eyJz.c2ln"), "a JWT"),
            ("0", json!("ab1c-d2ef-3gh4"), "a code xxxx-xxxx-xxxx"),
            ("name", json!("Zoë 🚀 with a name as long as an id has"), "a text"),
            ("name", json!(""), "an empty text"),
            ("session_token", json!(""), "an empty text"),
            ("session_token", json!(id), "a token"),
            ("roles", json!([]), "a list"),
            ("member", json!({}), "an object"),
        ] {
            assert_eq!(form(field, &value), expected, "{field} {value}");
        }
    }
}
