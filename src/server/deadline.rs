//! The caller's deadline, from `grpc-timeout`.
//!
//! When it passes, tonic's server answers `CANCELLED`, which service meshes retry; and tonic
//! ignores malformed values. So the façade parses it itself, and enforces it shortly before the
//! caller does.

use std::time::Duration;

use http::HeaderMap;

/// The shortest lead over the caller's own timer, which started earlier; both tick in milliseconds.
const MIN_LEAD: Duration = Duration::from_millis(2);
/// The longest lead: enough for the response to reach the caller before its deadline.
const MAX_LEAD: Duration = Duration::from_millis(20);

/// The value of `grpc-timeout` is not what the gRPC specification allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Returns how long a call with these headers may take: `None` without a deadline, zero if there is
/// too little time for a call.
pub(super) fn time_left(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let timeout = parse(value.as_bytes()).ok_or(Malformed)?;
    let lead = (timeout / 10).clamp(MIN_LEAD, MAX_LEAD);
    Ok(Some(timeout.saturating_sub(lead)))
}

/// Parses one to eight digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_a_little_less_than_the_caller_waits() {
        for (value, expected, reason) in [
            ("10S", Ok(Duration::from_millis(9_980)), "at most 20 ms early"),
            ("100m", Ok(Duration::from_millis(90)), "a tenth early"),
            ("5m", Ok(Duration::from_millis(3)), "at least 2 ms early"),
            ("5000u", Ok(Duration::from_millis(3)), "microseconds"),
            ("5000000n", Ok(Duration::from_millis(3)), "nanoseconds"),
            ("2m", Ok(Duration::ZERO), "too little for a call"),
            ("2M", Ok(Duration::from_millis(119_980)), "minutes"),
            ("99999999H", Ok(Duration::from_millis(99_999_999 * 3_600_000 - 20)), "the longest"),
            ("0S", Ok(Duration::ZERO), "no time"),
            ("", Err(Malformed), "empty"),
            ("S", Err(Malformed), "no digits"),
            ("10", Err(Malformed), "no unit"),
            ("123456789S", Err(Malformed), "nine digits"),
            ("-1S", Err(Malformed), "negative"),
            ("1.5S", Err(Malformed), "a fraction"),
            ("1s", Err(Malformed), "an unknown unit"),
            ("1 S", Err(Malformed), "a blank"),
        ] {
            let headers =
                HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), value.parse().unwrap())]);

            assert_eq!(time_left(&headers).map(Option::unwrap), expected, "{reason}: {value}");
        }
    }
}
