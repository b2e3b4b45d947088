//! Reading an answer without losing it to one odd field.
//!
//! Stytch has done the work by the time the answer is read, and the secret in it cannot be had again.
//! So a field of an unexpected type is left unset and reported, and only an answer without its
//! essential part is refused.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::error::Unreadable;
use crate::proto::json::FromObject;

/// How many odd fields are left out one by one. Past that, whatever holds the next one is left out
/// whole, so that an answer full of them is read in bounded time.
const MAX_DROPPED: usize = 64;

/// Reads `body` as `T`. `dropped` is told the path of each field that had to be left unset.
///
/// # Errors
///
/// When it is no JSON object.
pub fn decode<T: DeserializeOwned>(
    body: &[u8],
    mut dropped: impl FnMut(&str),
) -> Result<T, Unreadable> {
    // Nearly every answer fits, and is read straight from the buffer.
    if let Ok(FromObject(answer)) = serde_json::from_slice(body) {
        return Ok(answer);
    }
    let mut value: Value = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    if !value.is_object() {
        return Err(Unreadable::NotJson);
    }
    for round in 0.. {
        let path = match serde_path_to_error::deserialize(&value) {
            Ok(FromObject(answer)) => return Ok(answer),
            Err(error) => error.path().clone(),
        };
        let depth = if round < MAX_DROPPED { usize::MAX } else { 1 };
        if !drop_at(&mut value, &path, depth) {
            break;
        }
        dropped(&path.to_string());
    }
    Err(Unreadable::NotJson)
}

/// Removes what stands at the first `depth` steps of `path`. Says whether there was anything.
fn drop_at(value: &mut Value, path: &Path, depth: usize) -> bool {
    let segments: Vec<_> = path.iter().take(depth).collect();
    let Some((last, parents)) = segments.split_last() else {
        return false;
    };
    let parent = parents.iter().try_fold(value, |value, segment| match segment {
        Segment::Map { key } => value.get_mut(key),
        Segment::Seq { index } => value.get_mut(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    match (parent, last) {
        (Some(Value::Object(object)), Segment::Map { key }) => object.remove(key).is_some(),
        (Some(Value::Array(array)), Segment::Seq { index }) if *index < array.len() => {
            array.remove(*index);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proto::stytch::b2b::totp::v1::CreateResponse;

    #[test]
    fn a_field_of_an_unexpected_type_is_left_unset_and_reported() {
        for (answer, path) in [
            (json!({"secret": "S", "member": "nobody"}), "member"),
            (json!({"secret": "S", "member": {"created_at": ""}}), "member.created_at"),
            (json!({"secret": "S", "member": {"updated_at": "soon"}}), "member.updated_at"),
            (json!({"secret": "S", "member": {"is_admin": "yes"}}), "member.is_admin"),
            (json!({"secret": "S", "recovery_codes": ["a", 7, "b"]}), "recovery_codes[1]"),
            (json!({"secret": "S", "recovery_codes": ["a", null, "b"]}), "recovery_codes[1]"),
            (json!({"secret": "S", "qr_code": {"png": ""}}), "qr_code"),
            (json!({"secret": "S", "member": []}), "member"),
            (json!({"secret": "S", "member": {"roles": [[]]}}), "member.roles[0]"),
            (
                json!({"secret": "S", "organization": {"custom_roles": [{"role_id": []}]}}),
                "organization.custom_roles[0].role_id",
            ),
        ] {
            let mut dropped = Vec::new();

            let read: CreateResponse =
                decode(answer.to_string().as_bytes(), |path| dropped.push(path.to_owned()))
                    .expect("a readable answer");

            assert_eq!(read.secret, "S", "{answer}");
            assert_eq!(dropped, [path], "{answer}");
        }
    }

    #[test]
    fn the_good_entries_of_a_list_with_a_bad_one_are_kept() {
        let body = br#"{"secret": "S", "recovery_codes": ["a", 7, "b"]}"#;

        let read: CreateResponse = decode(body, |_| ()).expect("a readable answer");

        assert_eq!(read.recovery_codes, ["a", "b"]);
    }

    #[test]
    fn a_body_that_is_no_json_object_is_unreadable() {
        for body in ["", "null", "[]", "7", "\"secret\"", "{\"secret\": \"S\"", "<html>"] {
            let read = decode::<CreateResponse>(body.as_bytes(), |_| ());

            assert_eq!(read, Err(Unreadable::NotJson), "{body}");
        }
    }

    #[test]
    fn a_list_of_nothing_but_bad_entries_does_not_cost_the_secret() {
        let body = json!({"secret": "S", "recovery_codes": vec![7; 10_000]}).to_string();
        let mut dropped = 0;

        let read: CreateResponse =
            decode(body.as_bytes(), |_| dropped += 1).expect("a readable answer");

        assert_eq!(read.secret, "S");
        assert_eq!(dropped, MAX_DROPPED + 1);
    }
}
