//! The headers `traceparent` and `tracestate`, one a line: the ids are those of an independent
//! reading, and survive a round trip. A valid state is passed on as it is, within its limit, and
//! none without valid ids.
#![no_main]

use std::{collections::BTreeSet, sync::LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use totp_facade::telemetry::{
    metrics::Metrics,
    trace::{Ids, Options, Root, Sampler, Span, Tracer},
};

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);
const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// A trace, a span, and whether the trace is recorded.
type Parent = ([u8; 16], [u8; 8], bool);

fn headers(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        for name in [PARENT, STATE] {
            let value = line.strip_prefix(name.as_str().as_bytes());
            let value = value.and_then(|it| it.strip_prefix(b": "));
            if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
                headers.append(name, value);
            }
        }
    }
    headers
}

/// Returns `text` if it is this many lower-case hexadecimal digits.
fn digits(text: &[u8], count: usize) -> Option<&str> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let is_number = text.len() == count && text.iter().all(is_digit);
    is_number.then(|| str::from_utf8(text).expect("ASCII"))
}

fn parent(headers: &HeaderMap) -> Option<Parent> {
    let values: Vec<_> = headers.get_all(PARENT).iter().map(HeaderValue::as_bytes).collect();
    let [value] = values[..] else { return None };
    let mut parts = value.splitn(5, |byte| *byte == b'-');
    let version = digits(parts.next()?, 2).filter(|it| *it != "ff")?;
    let trace = u128::from_str_radix(digits(parts.next()?, 32)?, 16).ok()?;
    let span = u64::from_str_radix(digits(parts.next()?, 16)?, 16).ok()?;
    let flags = u8::from_str_radix(digits(parts.next()?, 2)?, 16).ok()?;
    let is_valid = trace > 0 && span > 0 && (version != "00" || parts.next().is_none());
    is_valid.then(|| (trace.to_be_bytes(), span.to_be_bytes(), flags % 2 == 1))
}

/// Returns the members of a state that is valid without doubt. The library that checks states knows
/// fewer of the keys that contain an `@`.
fn members(state: &str) -> Option<Vec<&str>> {
    let members: Vec<_> = state.split(',').map(|it| it.trim_matches([' ', '\t'])).collect();
    let count = members.len();
    let members: Vec<_> = members.into_iter().filter(|it| !it.is_empty()).collect();
    let is_of_key =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
    let mut keys = BTreeSet::new();
    let mut is_valid = |member: &&str| {
        let Some((key, value)) = member.split_once('=') else { return false };
        let is_key = key.starts_with(|char: char| char.is_ascii_lowercase())
            && key.len() <= 256
            && key.bytes().all(is_of_key);
        let is_of_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
        let is_value = (1..=256).contains(&value.len()) && value.bytes().all(is_of_value);
        is_key && is_value && keys.insert(key.to_owned())
    };
    // Empty members count too.
    let is_list = count <= 32 && !members.is_empty() && members.iter().all(&mut is_valid);
    is_list.then_some(members)
}

fn check_round_trip(ids: Ids) {
    let value = HeaderValue::try_from(ids.to_string()).expect("digits and dashes");
    assert_eq!(Ids::of(&HeaderMap::from_iter([(PARENT, value)])), Some(ids));
    assert_eq!(Ids::from_bytes(&ids.to_bytes()), Some(ids.sampled(true)));
}

fuzz_target!(|input: &[u8]| {
    let headers = headers(input);
    let caller = Ids::of(&headers);
    let read =
        caller.map(|it| (it.trace_id().to_bytes(), it.span_id().to_bytes(), it.is_sampled()));
    assert_eq!(read, parent(&headers));
    caller.into_iter().for_each(check_round_trip);

    let sampler = Sampler { follows_caller: true, root: Root::None };
    let options = Options { sampler, is_passed_on: true, shows_ids: false };
    let (tracer, mut spans) = Tracer::new(options, &METRICS);
    let trace = tracer.call("Service/Method", &headers);
    let mut sent = HeaderMap::new();
    trace.pass_on(&Span::default(), &mut sent);
    assert_eq!(Ids::of(&sent), Some(trace.ids()));
    if let Some(caller) = caller {
        assert_eq!(trace.ids().trace_id(), caller.trace_id());
    }

    let state: Vec<_> = headers.get_all(STATE).iter().map(HeaderValue::as_bytes).collect();
    let state = state.join(&b","[..]);
    let passed_on = sent.get(STATE).map(HeaderValue::as_bytes);
    if let Some(passed_on) = passed_on {
        assert!(caller.is_some() && passed_on.len() <= 512);
        assert_eq!(passed_on, state);
    }
    let state = str::from_utf8(&state).ok().filter(|it| caller.is_some() && it.len() <= 512);
    let members = state.and_then(members);
    assert!(members.is_none() || passed_on.is_some(), "a valid state is lost");

    drop(trace);
    let recorded = spans.take(usize::MAX);
    let is_sampled = caller.is_some_and(Ids::is_sampled);
    assert_eq!(recorded.len(), usize::from(is_sampled));
    if let (Some(members), [span]) = (members, &recorded[..]) {
        assert_eq!(span.span_context.trace_state().header(), members.join(","));
    }
});
