//! The header `grpc-timeout`: read as an independent reading reads it, and a call ends before its
//! caller stops waiting, but hardly.
#![no_main]

#[path = "../../src/server/deadline.rs"]
mod deadline;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const NAME: HeaderName = HeaderName::from_static("grpc-timeout");

/// Returns how long the caller waits, in nanoseconds.
fn read(value: &[u8]) -> Option<u128> {
    let text = str::from_utf8(value).ok()?;
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    let is_number = digits.len() <= 8 && !digits.starts_with('+');
    digits.parse::<u128>().ok().filter(|_| is_number).map(|count| count * unit)
}

fuzz_target!(|value: &[u8]| {
    let Ok(header) = HeaderValue::from_bytes(value) else { return };
    let left = deadline::time_left(&HeaderMap::from_iter([(NAME, header)]));
    let left = left.map(|left| left.expect("a deadline").as_nanos());
    let Some(waits) = read(value) else {
        assert_eq!(left, Err(deadline::Malformed));
        return;
    };
    let left = left.expect("a well-formed value");
    let lead = waits.checked_sub(left).expect("no more than the caller waits");
    assert!(lead <= Duration::from_millis(20).as_nanos(), "{lead} ns");
    assert!(left == 0 || lead >= Duration::from_millis(2).as_nanos(), "{lead} ns");
});
