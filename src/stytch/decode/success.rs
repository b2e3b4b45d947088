//! Decodes the body of a success without failing on a malformed field.
//!
//! By the time the response is read, Stytch has done the work, and the secret in the response
//! cannot be fetched again. So a field that does not fit the message is left unset and reported.
//! The decoded message is one that every gRPC client can read: neither too long nor too deeply
//! nested.

use serde::de::DeserializeOwned;

use super::lenient::{FreeForm, copy_fitting};
use crate::{
    proto::{Form, StytchResponse, json::FromObject},
    stytch::error::Unreadable,
};

/// The longest message that gRPC clients accept by default, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// How many times longer than its JSON a message can be, at most. The worst case is a list of
/// zeros.
const MAX_GROWTH: usize = 6;

/// Decodes `body` as a `T`. Calls `dropped` with the path of each field that is left unset.
///
/// # Errors
///
/// If `body` is not a JSON object.
pub fn decode<T: DeserializeOwned + StytchResponse>(
    body: &[u8],
    mut dropped: impl FnMut(&str),
) -> Result<T, Unreadable> {
    // Nearly every response fits the message and is read straight from the buffer.
    let message = match serde_json::from_slice(body) {
        Ok(FromObject(message)) => message,
        Err(_) => decode_fitting(body, FreeForm::Kept, &mut dropped)?,
    };
    if body.len() > MAX_MESSAGE / MAX_GROWTH && T::encoded_len(&message) > MAX_MESSAGE {
        return decode_fitting(body, FreeForm::LeftOut, &mut dropped);
    }
    Ok(message)
}

/// Decodes the parts of `body` that fit.
fn decode_fitting<T: DeserializeOwned + StytchResponse>(
    body: &[u8],
    free_form: FreeForm,
    dropped: &mut dyn FnMut(&str),
) -> Result<T, Unreadable> {
    let fitting = copy_fitting(body, &Form::Message(T::SHAPE), free_form, dropped)?;
    match serde_json::from_slice(&fitting) {
        Ok(FromObject(message)) => Ok(message),
        Err(_) => Err(Unreadable::NotJson),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use serde_json::json;

    use super::{super::lenient::MAX_REPORTS, *};
    use crate::proto::{Depth, stytch::b2b::totp::v1::CreateResponse};

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
        assert_eq!(dropped, MAX_REPORTS + 1);
    }

    /// Returns the decoded message, and the paths of the fields left unset.
    fn read(body: impl AsRef<[u8]>) -> (CreateResponse, Vec<String>) {
        let mut dropped = Vec::new();
        let read = decode(body.as_ref(), |path| dropped.push(path.to_owned()));
        (read.expect("a readable answer"), dropped)
    }

    #[test]
    fn what_serde_json_refuses_inside_a_value_is_left_out_by_itself() {
        for (value, reason) in [
            (r#""\ud800""#, "a lone surrogate"),
            (r#""\udc00\ud800""#, "surrogates the wrong way round"),
            (r#""\ud800\ud800""#, "two first halves"),
            (r#""\x""#, "an unknown escape"),
            (r#""\u12""#, "a truncated escape"),
            ("\"a\nb\"", "a line break"),
            ("1e400", "beyond the range of a double"),
            ("-1e999999999999999999999", "far beyond the range of a double"),
            ("01", "a leading zero"),
            ("1.", "a point without decimals"),
            ("+1", "a plus sign"),
            ("NaN", "not a number, as Python writes it"),
            ("-Infinity", "an infinity"),
            ("undefined", "not JSON"),
            ("nul", "half a null"),
        ] {
            let (metadata, list, name) = (
                format!(
                    r#"{{"secret": "S", "member": {{"trusted_metadata": {{"a": 1, "b": {value}}}}}}}"#
                ),
                format!(r#"{{"secret": "S", "recovery_codes": ["a", {value}, "b"]}}"#),
                format!(r#"{{"member": {{"name": {value}, "member_id": "m"}}, "secret": "S"}}"#),
            );

            let (answer, dropped) = read(metadata);
            let member = serde_json::to_value(answer.member).expect("JSON");
            assert_eq!(member["trusted_metadata"], json!({"a": 1}), "{reason}");
            assert_eq!(dropped, ["member.trusted_metadata.b"], "{reason}");
            let (answer, dropped) = read(list);
            assert_eq!(answer.recovery_codes, ["a", "b"], "{reason}");
            assert_eq!(dropped, ["recovery_codes[1]"], "{reason}");
            let (answer, dropped) = read(name);
            assert_eq!(answer.member.expect("a member").member_id, "m", "{reason}");
            assert_eq!((answer.secret.as_str(), dropped), ("S", vec!["member.name".to_owned()]));
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_cost_their_string_and_no_other() {
        let (answer, dropped) = read(
            b"{\"secret\": \"S\", \"member\": {\"name\": \"\xff\\\\\", \"member_id\": \"m\"}}",
        );

        assert_eq!(answer.secret, "S");
        assert_eq!(answer.member.expect("a member").member_id, "m");
        assert_eq!(dropped, ["member.name"]);
    }

    #[test]
    fn a_name_in_metadata_that_cannot_be_read_costs_its_member_and_no_other() {
        let (answer, dropped) = read(
            r#"{"secret": "S", "member": {"trusted_metadata": {"\udfff": {"x": [1]}, "": 2, "\u0000": 3}}}"#,
        );

        let member = serde_json::to_value(answer.member).expect("JSON");
        assert_eq!(member["trusted_metadata"], json!({"": 2, "\0": 3}));
        assert_eq!(dropped, ["member.trusted_metadata.(unreadable)"]);
    }

    #[test]
    fn of_a_field_that_stands_there_twice_the_last_one_that_fits_counts() {
        for (body, secret, dropped) in [
            (r#"{"secret": "A", "secret": "S"}"#, "S", &["secret"][..]),
            (
                r#"{"secret": "A", "secret": "B", "x": 1, "secret": "S"}"#,
                "S",
                &["secret", "secret"],
            ),
            (r#"{"secret": "S", "secret": 7}"#, "S", &["secret"]),
            (r#"{"secret": "S", "secret": null}"#, "S", &[]),
            (
                r#"{"s\u0065cret": "A", "member": {"member_id": "m", "member_id": "n"}, "secret": "S"}"#,
                "S",
                &["member.member_id", "secret"],
            ),
        ] {
            let (answer, reported) = read(body);

            assert_eq!(answer.secret, secret, "{body}");
            assert_eq!(reported, dropped, "{body}");
        }
    }

    #[test]
    fn what_stands_around_the_object_does_not_cost_the_secret() {
        for (body, dropped) in [
            ("\u{feff}{\"secret\": \"S\"}", &[][..]),
            (" \t\r\n{\"secret\": \"S\"}\n\n", &[]),
            ("{\"secret\": \"S\"}}", &["(what follows the object)"]),
            ("{\"secret\": \"S\"}<html>", &["(what follows the object)"]),
            ("{\"secret\": \"S\"}{\"secret\": \"T\"}", &["(what follows the object)"]),
        ] {
            let (answer, reported) = read(body);

            assert_eq!(answer.secret, "S", "{body}");
            assert_eq!(reported, dropped, "{body}");
        }
    }

    #[test]
    fn a_body_whose_brackets_do_not_match_is_unreadable() {
        for body in [
            r#"{"secret": "S", "member": }"#,
            r#"{"secret": "S", "member": [}"#,
            r#"{"secret": "S", "x": [{]}}"#,
            r#"{"secret": "S" "member": {}}"#,
            r#"{"secret": "S",}"#,
            r#"{"secret" "S"}"#,
            r#"{secret: "S"}"#,
            r#"{"secret": "S", "member": {"name": "a}"#,
            r#"{"secret": "S", "member": {"name": "a\"}"#,
            r#"{"a":"#,
        ] {
            let read = decode::<CreateResponse>(body.as_bytes(), |_| ());

            assert_eq!(read, Err(Unreadable::NotJson), "{body}");
        }
    }

    /// Returns `core` within `levels` of nested objects or lists.
    fn nested(open: &str, close: &str, levels: usize, core: &str) -> String {
        format!("{}{core}{}", open.repeat(levels), close.repeat(levels))
    }

    /// The places of free-form objects in a response to `create`, and how deep each is nested.
    const PLACES: [(&str, &str, usize); 4] = [
        (r#""member": {"trusted_metadata": "#, "}", 2),
        (r#""organization": {"allowed_oauth_tenants": "#, "}", 2),
        (r#""member": {"sso_registrations": [{"sso_attributes": "#, "}]}", 3),
        (r#""member": {"roles": [{"sources": [{"details": "#, "}]}]}", 4),
    ];

    #[test]
    fn exactly_what_every_client_can_read_is_kept_of_nested_metadata() {
        for (before, after, depth) in PLACES {
            for (open, close, cost) in [(r#"{"a":"#, "}", 3), ("[", "]", 2)] {
                for (core, levels_of_core) in [
                    ("0", 0),
                    ("{}", 1),
                    ("[]", 1),
                    (r#"{"b": {"c": 1}}"#, 6),
                    // Never fits.
                    (r#""\ud800""#, Depth::LIMIT),
                ] {
                    for levels in 0..=140 {
                        // The outermost `Value` is that of a field of the `Struct`.
                        let needed = depth + 2 + levels * cost + levels_of_core;
                        let inner = nested(open, close, levels, core);
                        let body = format!(
                            r#"{{"secret": "S", {before}{{"m": {inner}, "n": 1}}{after}}}"#
                        );

                        let (answer, dropped) = read(&body);

                        assert_eq!(answer.secret, "S", "{body}");
                        let again = CreateResponse::decode(answer.encode_to_vec().as_slice());
                        assert_eq!(again.as_ref(), Ok(&answer), "{body}");
                        assert_eq!(
                            dropped.is_empty(),
                            needed <= Depth::LIMIT,
                            "{body}: {dropped:?}"
                        );
                        assert!(dropped.len() <= 1, "{dropped:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn any_response_of_a_mebibyte_is_read_in_bounded_time() {
        const SIZE: usize = 1024 * 1024;
        let fill = |unit: &str| unit.repeat(SIZE / unit.len());
        for (body, reason) in [
            (fill("["), "lists"),
            (fill(r#"{"a":"#), "objects"),
            (format!(r#"{{"secret": "S", "x": {}"#, fill("[")), "lists in an unknown field"),
            (
                format!(r#"{{"secret": "S", "x": {}}}"#, nested("[", "]", SIZE / 2, "")),
                "closed lists",
            ),
            (
                format!(
                    r#"{{"secret": "S", "member": {{"trusted_metadata": {{"a": {}}}}}}}"#,
                    nested("[", "]", SIZE / 2, "")
                ),
                "lists in metadata",
            ),
            (
                format!(r#"{{"secret": "S"{}}}"#, fill(r#","secret":"S""#)),
                "one field over and over",
            ),
            (format!(r#"{{"secret": "S", "recovery_codes": [{}7]}}"#, fill("7,")), "odd entries"),
            (
                format!(
                    r#"{{"secret": "S", "member": {{"trusted_metadata": {{"a": [{}1e400]}}}}}}"#,
                    fill("0,")
                ),
                "one odd entry among many",
            ),
            (
                format!(
                    r#"{{"secret": "S", "member": {{"trusted_metadata": {{{}"a":1}}}}}}"#,
                    fill(r#""\ud800":1,"#)
                ),
                "odd names",
            ),
            (
                format!(
                    r#"{{"secret": "S", "member": {{"trusted_metadata": {{"{}": 1e400}}}}}}"#,
                    fill("long ")
                ),
                "a long name",
            ),
            (format!(r#"{{"secret": "S", "x": "{}"}}"#, fill(r"\\")), "backslashes"),
        ] {
            let start = std::time::Instant::now();
            let mut reports = Vec::new();

            let read =
                decode::<CreateResponse>(body.as_bytes(), |path| reports.push(path.to_owned()));

            // This takes milliseconds; repeated passes over the whole text would take minutes.
            assert!(start.elapsed().as_secs() < 10, "{reason}: {:?}", start.elapsed());
            assert!(reports.len() <= MAX_REPORTS + 1, "{reason}: {} reports", reports.len());
            assert!(reports.iter().all(|path| path.len() < 300), "{reason}");
            if let Ok(answer) = read {
                assert_eq!(answer.secret, "S", "{reason}");
            }
        }
    }

    #[test]
    fn a_response_longer_than_clients_read_loses_its_free_form_objects() {
        let zeros = "0,".repeat(400_000);
        let body = format!(
            r#"{{"secret": "S", "member": {{"member_id": "m", "trusted_metadata": {{"a": [{zeros}0]}}}}}}"#
        );

        let (answer, dropped) = read(body);

        assert!(answer.encoded_len() < MAX_MESSAGE);
        assert_eq!(answer.secret, "S");
        assert_eq!(answer.member.expect("a member").member_id, "m");
        assert_eq!(dropped, ["member.trusted_metadata"]);
    }

    proptest! {
        #[test]
        fn whatever_is_read_survives_its_own_encoding(body in odd_json()) {
            let body = format!(r#"{{"secret": "S", "member": {body}, "qr_code": {body}}}"#);
            if let Ok(answer) = decode::<CreateResponse>(body.as_bytes(), |_| ()) {
                let again = CreateResponse::decode(answer.encode_to_vec().as_slice());
                prop_assert_eq!(again, Ok(answer));
            }
        }
    }

    /// Generates text that looks like JSON.
    fn odd_json() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just(r#"{"trusted_metadata":"#.to_owned()),
            Just(r#"{"a":"#.to_owned()),
            Just(r#""member_id":"#.to_owned()),
            proptest::sample::select(
                &["{", "}", "[", "]", ",", ":", "\"", "\\", "null", "1e400", "\\ud800"][..]
            )
            .prop_map(str::to_owned),
            (0..60_usize).prop_map(|levels| nested("[", "]", levels, "0")),
            (0..60_usize).prop_map(|levels| nested(r#"{"a":"#, "}", levels, "0")),
            any::<String>(),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }
}
