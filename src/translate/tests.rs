//! What a translation keeps of any text, and what it reports.

use std::{sync::mpsc, thread, time::Duration};

use allocation_counter::measure;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::{report::MAX_REPORTS, scan::is_blank, *};
use crate::{
    cpu_time::cpu_time,
    proto::{Depth, stytch::b2b::totp::v1::CreateResponse},
};

/// Translates a response to `Create` and decodes it.
fn decode(body: &[u8], left_out: impl FnMut(&str)) -> Result<CreateResponse, NotJson> {
    let message = translate::<CreateResponse>(body, left_out)?;
    Ok(CreateResponse::decode(message.into_bytes()).expect("a message"))
}

#[test]
fn a_field_of_an_unexpected_type_is_left_unset_and_reported() {
    for (answer, path) in [
        (json!({"secret": "S", "member": "nobody"}), "member"),
        (json!({"secret": "S", "member": {"created_at": ""}}), "member.created_at"),
        (json!({"secret": "S", "member": {"updated_at": "soon"}}), "member.updated_at"),
        (
            json!({"secret": "S", "member": {"created_at": "-2025-01-01T00:00:00Z"}}),
            "member.created_at",
        ),
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
        let read = decode(body.as_bytes(), |_| ());

        assert_eq!(read, Err(NotJson), "{body}");
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
    let (answer, dropped) =
        read(b"{\"secret\": \"S\", \"member\": {\"name\": \"\xff\\\\\", \"member_id\": \"m\"}}");

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
        (r#"{"secret": "A", "secret": "B", "x": 1, "secret": "S"}"#, "S", &["secret", "secret"]),
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
        let read = decode(body.as_bytes(), |_| ());

        assert_eq!(read, Err(NotJson), "{body}");
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
                    let body =
                        format!(r#"{{"secret": "S", {before}{{"m": {inner}, "n": 1}}{after}}}"#);

                    let (answer, dropped) = read(&body);

                    assert_eq!(answer.secret, "S", "{body}");
                    let again = CreateResponse::decode(answer.encode_to_vec().as_slice());
                    assert_eq!(again.as_ref(), Ok(&answer), "{body}");
                    assert_eq!(dropped.is_empty(), needed <= Depth::LIMIT, "{body}: {dropped:?}");
                    assert!(dropped.len() <= 1, "{dropped:?}");
                }
            }
        }
    }
}

#[test]
fn any_response_of_a_mebibyte_is_read_in_bounded_time_and_memory() {
    const SIZE: usize = 1024 * 1024;
    let fill = |unit: &str| unit.repeat(SIZE / unit.len());
    for (body, reason) in [
        (fill("["), "lists"),
        (fill(r#"{"a":"#), "objects"),
        (format!(r#"{{"secret": "S", "x": {}"#, fill("[")), "lists in an unknown field"),
        (format!(r#"{{"secret": "S", "x": {}}}"#, nested("[", "]", SIZE / 2, "")), "closed lists"),
        (
            format!(
                r#"{{"secret": "S", "member": {{"trusted_metadata": {{"a": {}}}}}}}"#,
                nested("[", "]", SIZE / 2, "")
            ),
            "lists in metadata",
        ),
        (format!(r#"{{"secret": "S"{}}}"#, fill(r#","secret":"S""#)), "one field over and over"),
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
        let (mut reports, mut read, mut took) = (Vec::new(), None, Duration::ZERO);
        let report = |path: &str| reports.push(path.to_owned());
        let held = measure(|| {
            (read, took) = cpu_time(|| Some(translate::<CreateResponse>(body.as_bytes(), report)));
        });

        // This takes milliseconds; repeated passes over the whole text would take minutes.
        assert!(took < Duration::from_secs(10), "{reason}: {took:?}");
        // A number of one digit and its comma become a `Value` of 13 bytes, in a buffer that grows
        // by doubling.
        assert!(held.bytes_max <= 16 * SIZE as u64, "{reason}: {} bytes", held.bytes_max);
        assert!(reports.len() <= MAX_REPORTS + 1, "{reason}: {} reports", reports.len());
        assert!(reports.iter().all(|path| path.len() < 300), "{reason}");
        if let Some(Ok(message)) = read {
            let answer = CreateResponse::decode(message.into_bytes()).expect("a message");
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
        if let Ok(answer) = decode(body.as_bytes(), |_| ()) {
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

/// Returns the result of `work`, and fails the test if it takes longer than any body should.
#[track_caller]
fn in_time<T: Send + 'static>(body: &[u8], work: impl FnOnce(&[u8]) -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let given = body.to_vec();
    thread::spawn(move || done.send(work(&given)));
    // On a busy machine, a thread may wait for seconds before it runs.
    let result = result.recv_timeout(Duration::from_secs(60));
    result.unwrap_or_else(|error| panic!("{error} for {:?}", body.escape_ascii().to_string()))
}

/// Translates in bounded time. Returns the paths of the fields left unset too.
#[track_caller]
fn success(body: &[u8]) -> Result<(CreateResponse, Vec<String>), NotJson> {
    in_time(body, |body| {
        let mut left_out = Vec::new();
        let read = decode(body, |path| left_out.push(path.to_owned()));
        read.map(|answer| (answer, left_out))
    })
}

/// Returns `text` with each `@` replaced by `byte`.
fn with_byte(text: &str, byte: u8) -> Vec<u8> {
    text.bytes().map(|it| if it == b'@' { byte } else { it }).collect()
}

/// Returns the bytes that JSON allows only in strings. Many of them count as white space
/// elsewhere.
fn odd_bytes() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|byte| !byte.is_ascii_graphic() && !is_blank(*byte))
}

#[test]
fn a_byte_that_is_not_of_json_costs_the_value_in_which_it_stands() {
    for (text, path) in [
        (r#"{"secret":"S","x":[@]}"#, None),
        (r#"{"secret":"S","x":@}"#, None),
        (r#"{"x":{"a":@1,"b":[2@,@,@ @3]@},"secret":"S"}"#, None),
        (r#"{"secret":"S","member":{"name":@}}"#, Some("member.name")),
        (r#"{"secret":"S","member":[@]}"#, Some("member")),
        (
            r#"{"secret":"S","member":{"trusted_metadata":{"a":@1}}}"#,
            Some("member.trusted_metadata.a"),
        ),
        (
            r#"{"secret":"S","member":{"trusted_metadata":{"a":[1,@]}}}"#,
            Some("member.trusted_metadata.a[1]"),
        ),
        (r#"{"recovery_codes":["a",@,"b"],"secret":"S"}"#, Some("recovery_codes[1]")),
        (r#"{"secret":"S"}@"#, Some("(what follows the object)")),
    ] {
        for byte in odd_bytes() {
            let (answer, left_out) = success(&with_byte(text, byte)).expect("readable");

            assert_eq!(answer.secret, "S", "{byte:#x} in {text}");
            assert_eq!(left_out, Vec::from_iter(path), "{byte:#x} in {text}");
        }
    }
}

#[test]
fn a_byte_that_is_not_of_json_between_the_parts_of_an_object_makes_it_unreadable() {
    for text in [
        r#"@{"secret":"S"}"#,
        r#"{@"secret":"S"}"#,
        r#"{"secret"@:"S"}"#,
        r#"{"secret":@"S"}"#,
        r#"{"secret":"S"@}"#,
        r#"{"secret":"S"@,"x":1}"#,
        r#"{"secret":"S","x":[@"#,
        r#"{"secret":"S","x":@"#,
    ] {
        for byte in odd_bytes() {
            assert_eq!(success(&with_byte(text, byte)), Err(NotJson), "{text}");
        }
    }
}

/// Generates valid bodies with some bytes replaced, removed or inserted.
fn mutants() -> impl Strategy<Value = Vec<u8>> {
    let good = proptest::sample::select(
        &[
            r#"{"secret": "S", "member": {"name": "N", "trusted_metadata": {"a": [1, {}]}}}"#,
            r#"{"secret": "S", "recovery_codes": ["a", "b"], "x": [{"y": [null, -1e3]}, "z"]}"#,
            r#"{"error_type": "x", "error_details": {"a": [1, "b"]}, "status_code": 400}"#,
        ][..],
    );
    let byte = prop_oneof![
        proptest::sample::select(b"{}[],:\"\\ \n\x00\x0b\x0c\x1c\x7f\x85\xa0".as_slice()),
        any::<u8>(),
    ];
    let edit = (any::<proptest::sample::Index>(), 0..2_usize, proptest::option::of(byte));
    (good, proptest::collection::vec(edit, 1..8)).prop_map(|(good, edits)| {
        let mut body = good.as_bytes().to_vec();
        for (at, taken, put) in edits {
            let at = at.index(body.len() - 1);
            body.splice(at..at + taken, put);
        }
        body
    })
}

proptest! {
    // No shrinking: if a body hangs the reader, so would each smaller one.
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_body_is_read_in_bounded_time(
        body in prop_oneof![mutants(), proptest::collection::vec(any::<u8>(), 0..200)],
    ) {
        let _ = success(&body);
        let inside = [b"{\"secret\":\"S\",\"x\":[", &body[..], b"]}"].concat();
        let _ = success(&inside);
    }
}
