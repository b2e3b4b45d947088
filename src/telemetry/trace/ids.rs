//! The ids of a call's place in its trace, by W3C's Trace Context.

use std::fmt;

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName};

/// The header that passes them on.
pub(super) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The length of [`TRACEPARENT`] up to the flags, which later versions may continue.
const LEN: usize = 55;

/// The bit of the flags that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// A trace, a span in it, and whether the trace is recorded. Neither id is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

impl Ids {
    /// Creates the ids of a span, unless one of them is zero, which means that there is none.
    pub fn new(trace: u128, span: u64, is_sampled: bool) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self { trace, span, is_sampled })
    }

    /// Creates the ids of the first span of a trace that is not recorded.
    pub fn random() -> Self {
        Self { trace: fastrand::u128(1..), span: fastrand::u64(1..), is_sampled: false }
    }

    /// Returns the ids that the sender of a request passes on. Malformed ones count as none.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            _ => None,
        }
    }

    /// Parses `VERSION-TRACE-SPAN-FLAGS`.
    fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(LEN)?;
        let [v1, v2, b'-', ids @ .., b'-', f1, f2] = head else { return None };
        let (trace, span) = (&ids[..32], ids[32..].strip_prefix(b"-")?);
        let version = hex(&[*v1, *v2])?;
        let may_follow = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let flags = u8::try_from(hex(&[*f1, *f2])?).ok()?;
        let span = u64::try_from(hex(span)?).ok()?;
        Self::new(hex(trace)?, span, flags & SAMPLED != 0).filter(|_| may_follow)
    }

    /// Reads what [`Ids::to_bytes`] returned, for a trace that is recorded.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (trace, span) = bytes.split_at_checked(size_of::<u128>())?;
        let trace = u128::from_be_bytes(trace.try_into().ok()?);
        Self::new(trace, u64::from_be_bytes(span.try_into().ok()?), true)
    }

    /// Returns the two ids as bytes.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (trace, span) = bytes.split_at_mut(size_of::<u128>());
        trace.copy_from_slice(&self.trace.to_be_bytes());
        span.copy_from_slice(&self.span.to_be_bytes());
        bytes
    }

    /// Returns the ids of a new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: fastrand::u64(1..), ..self }
    }

    /// Returns the same ids of a trace that is recorded, or is not.
    #[must_use]
    pub fn sampled(self, is_sampled: bool) -> Self {
        Self { is_sampled, ..self }
    }

    /// Returns whether the trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.is_sampled
    }

    /// Returns the id of the trace, which is displayed as 32 hexadecimal digits.
    pub fn trace_id(self) -> TraceId {
        TraceId(self.trace)
    }

    /// Returns the id of the span, which is displayed as 16 hexadecimal digits.
    pub fn span_id(self) -> SpanId {
        SpanId(self.span)
    }
}

/// The value of the header `traceparent`.
impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        write!(f, "00-{}-{}-{flags:02x}", self.trace_id(), self.span_id())
    }
}

/// The id of a trace. `Display` shows it as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(u128);

/// The id of a span. `Display` shows it as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u64);

impl TraceId {
    /// Returns the id as OTLP and the W3C order its bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Returns the digits of the id, which are written to `buffer`.
    pub(crate) fn digits(self, buffer: &mut [u8; 32]) -> &str {
        HEXLOWER.encode_mut_str(&self.to_bytes(), buffer)
    }
}

impl SpanId {
    /// Returns the id as OTLP and the W3C order its bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Returns the digits of the id, which are written to `buffer`.
    pub(crate) fn digits(self, buffer: &mut [u8; 16]) -> &str {
        HEXLOWER.encode_mut_str(&self.to_bytes(), buffer)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits(&mut [0; 32]))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits(&mut [0; 16]))
    }
}

/// Parses lower-case hexadecimal digits, of which there are at most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&TRACEPARENT, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_ids_of_a_request_are_taken_if_they_are_well_formed() {
        for (value, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            (format!("00-{TRACE}-{SPAN}-03"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-fe"), Some(false)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01.what"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{SPAN}-0"), None),
            (format!("00-{TRACE}_{SPAN}-01"), None),
            (format!("00-{TRACE}{SPAN}0-01"), None),
            (format!("0x-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-x1"), None),
            (String::new(), None),
        ] {
            let ids = Ids::of(&headers(&[&value]));

            assert_eq!(ids.map(Ids::is_sampled), expected, "{value}");
            let shown = ids.map(|ids| (ids.trace_id().to_string(), ids.span_id().to_string()));
            assert!(shown.is_none_or(|shown| shown == (TRACE.to_owned(), SPAN.to_owned())));
        }
        let value = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(Ids::of(&headers(&[&value, &value])), None, "given twice");
        assert_eq!(Ids::of(&headers(&[])), None);
    }

    #[test]
    fn what_is_passed_on_is_read_back_and_a_child_has_another_span_id() {
        for is_sampled in [true, false] {
            let ids = Ids::random().sampled(is_sampled);

            assert_eq!(Ids::of(&headers(&[&ids.to_string()])), Some(ids));
            let child = ids.child();
            assert_eq!((child.trace_id(), child.is_sampled()), (ids.trace_id(), is_sampled));
            assert_ne!(child.span_id(), ids.span_id());
            assert_eq!(Ids::from_bytes(&ids.to_bytes()), Some(ids.sampled(true)));
        }
        for bytes in [&[][..], &[1; 23], &[1; 25], &[0; 24]] {
            assert_eq!(Ids::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
