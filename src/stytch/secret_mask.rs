//! Masks secrets in Stytch's error objects, which may echo the request.
//!
//! A text is scanned once, for all secrets together. Each stretch that secrets cover, overlaps
//! merged, becomes [`MASK`], which is not scanned again. So the work and the output are bounded by
//! the text, whatever the secrets are. A text that cannot be masked usefully is dropped: because a
//! secret is so short that the gaps would reveal it, or because the masked text still contains a
//! secret (as when a secret is `redacted`).

use std::{collections::HashSet, ops::Range};

use aho_corasick::{
    Anchored, MatchKind,
    automaton::Automaton as _,
    nfa::noncontiguous::{Builder, NFA},
};
use percent_encoding::utf8_percent_encode;
use prost_types::{ListValue, Struct, Value, value::Kind};

use super::endpoint::PATH_SEGMENT;

/// Replaces secrets.
pub const MASK: &str = "[redacted]";

/// The minimum length of a secret, in characters. If a secret is shorter, every text is dropped.
const MIN_SECRET: usize = 3;
/// The length in bytes from which a secret without digits counts in a name. A name, such as an
/// error type, is made of words, and a word may equal somebody's recovery code by chance.
const MIN_TELLING: usize = 8;
/// The maximum total length of all secrets in all spellings, in bytes. A request has at most half
/// of it.
const MAX_SECRETS: usize = 32 * 1024;
/// How much of a text to read, in bytes.
const MAX_INPUT: usize = 4 * 1024;
/// The longest masked text, in bytes.
pub const MAX_TEXT: usize = 1024;
/// The maximum length of the names and texts of an object, in bytes. More would not fit into
/// trailers.
const MAX_OBJECT: usize = 3 * 1024;
/// The maximum number of values in an object.
const MAX_VALUES: usize = 256;
/// The maximum nesting of an object. Protobuf parsers accept a hundred levels, and each of these
/// takes three.
const MAX_DEPTH: usize = 16;

/// The secrets to mask, regardless of case: each one verbatim, percent-encoded, escaped as in JSON,
/// trimmed, and as a number without leading zeros.
pub struct Mask {
    /// Finds the secrets; `None` if there are no secrets, or too many.
    automaton: Option<NFA>,
    /// The numeric secrets, as the bits of a double.
    numbers: HashSet<u64>,
    /// Whether to drop texts, because they cannot be masked reliably.
    drops_texts: bool,
    /// Whether to drop names too.
    drops_names: bool,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("drops_texts", &self.drops_texts).finish_non_exhaustive()
    }
}

impl Mask {
    /// Creates a mask for `secrets`. Empty ones are ignored.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = Patterns::default();
        let mut plain = Vec::new();
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            if patterns.add(secret.to_owned()) {
                plain.push(secret);
            }
        }
        let drops_names = patterns.too_many;
        let mut numbers = HashSet::new();
        for secret in plain {
            for spelling in spellings(secret) {
                patterns.add(spelling);
            }
            if let Some(number) = number(secret) {
                numbers.insert(number);
            }
        }
        let automaton = patterns.build();
        let drops_texts = patterns.too_short || patterns.too_many;
        Self { automaton, numbers, drops_texts, drops_names }
    }

    /// Returns `text` with secrets masked, truncated to [`MAX_TEXT`] bytes; empty if it cannot be
    /// masked.
    pub fn text(&self, text: &str) -> String {
        if self.drops_texts {
            return String::new();
        }
        let masked = self.masked(text, MAX_TEXT);
        if self.finds_any(&masked) { String::new() } else { masked }
    }

    /// Returns whether `name` contains a secret and must be dropped. A secret that could be any
    /// word does not count here.
    pub fn hides_name(&self, name: &str) -> bool {
        let is_telling = |it: &[u8]| it.len() >= MIN_TELLING || it.iter().any(u8::is_ascii_digit);
        let mut is_hidden = self.drops_names;
        self.each_longest(name.as_bytes(), |found| {
            is_hidden |= is_telling(&name.as_bytes()[found])
        });
        is_hidden
    }

    /// Returns `object` with secrets masked; `None` if it is too large or cannot be masked.
    pub fn object(&self, object: &Struct) -> Option<Struct> {
        let mut room = Room { bytes: MAX_OBJECT, values: MAX_VALUES };
        if self.drops_texts { None } else { self.entries(object, &mut room, MAX_DEPTH) }
    }

    fn entries(&self, object: &Struct, room: &mut Room, depth: usize) -> Option<Struct> {
        let fields = object
            .fields
            .iter()
            .map(|(name, value)| Some((self.whole(name, room)?, self.value(value, room, depth)?)));
        Some(Struct { fields: fields.collect::<Option<_>>()? })
    }

    fn value(&self, value: &Value, room: &mut Room, depth: usize) -> Option<Value> {
        let below = depth.checked_sub(1)?;
        room.values = room.values.checked_sub(1)?;
        let masked = match value.kind.as_ref()? {
            Kind::StringValue(text) => Kind::StringValue(self.whole(text, room)?),
            Kind::ListValue(list) => {
                let values = list.values.iter().map(|it| self.value(it, room, below));
                Kind::ListValue(ListValue { values: values.collect::<Option<_>>()? })
            }
            Kind::StructValue(object) => Kind::StructValue(self.entries(object, room, below)?),
            Kind::NumberValue(number) if self.hides_number(*number) => {
                Kind::StringValue(MASK.to_owned())
            }
            kind @ (Kind::NullValue(_) | Kind::BoolValue(_) | Kind::NumberValue(_)) => kind.clone(),
        };
        Some(Value { kind: Some(masked) })
    }

    /// Masks a text without truncating it; `None` if it is too long or cannot be masked.
    fn whole(&self, text: &str, room: &mut Room) -> Option<String> {
        room.bytes = room.bytes.checked_sub(text.len())?;
        let masked = self.masked(text, usize::MAX);
        (!self.finds_any(&masked)).then_some(masked)
    }

    /// Returns whether a number equals or contains a secret: a passcode may be echoed as a number.
    fn hides_number(&self, number: f64) -> bool {
        self.numbers.contains(&number.abs().to_bits()) || self.finds_any(&number.to_string())
    }

    /// Masks the first [`MAX_INPUT`] bytes of `text`, and returns at most `max` bytes.
    fn masked(&self, text: &str, max: usize) -> String {
        let end = text.floor_char_boundary(MAX_INPUT);
        // A secret that begins before the end may extend beyond it.
        let longest = self.automaton.as_ref().map_or(0, |automaton| automaton.max_pattern_len());
        let seen = &text[..text.ceil_char_boundary(end + longest)];
        let mut masked = String::new();
        let mut done = 0;
        for covered in self.covered(seen.as_bytes()).into_iter().filter(|it| it.start < end) {
            push(&mut masked, &text[done..covered.start], max);
            if masked.len() + MASK.len() > max {
                return masked;
            }
            masked.push_str(MASK);
            done = covered.end;
        }
        if done < end {
            push(&mut masked, &text[done..end], max);
        }
        masked
    }

    /// Returns the ranges of `text` that secrets cover, in order, with overlapping and adjacent
    /// ones merged.
    fn covered(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut covered: Vec<Range<usize>> = Vec::new();
        self.each_longest(text, |mut found| {
            while let Some(last) = covered.pop_if(|last| last.end >= found.start) {
                found.start = found.start.min(last.start);
            }
            covered.push(found);
        });
        covered
    }

    fn finds_any(&self, text: &str) -> bool {
        let mut found = false;
        self.each_longest(text.as_bytes(), |_| found = true);
        found
    }

    /// Calls `found` for each position where secrets end, with the range of the longest.
    fn each_longest(&self, text: &[u8], mut found: impl FnMut(Range<usize>)) {
        let Some(automaton) = &self.automaton else { return };
        let mut state = automaton
            .start_state(Anchored::No)
            .expect("the automaton supports unanchored searches");
        for (at, byte) in text.iter().enumerate() {
            state = automaton.next_state(Anchored::No, state, *byte);
            if automaton.is_match(state) {
                // The matches that end here are in one list, longest first; the rest are its
                // suffixes.
                let length = automaton.pattern_len(automaton.match_pattern(state, 0));
                found(at + 1 - length..at + 1);
            }
        }
    }
}

/// How much more of an object is accepted.
struct Room {
    bytes: usize,
    values: usize,
}

/// The patterns of an automaton, while they are collected.
#[derive(Default)]
struct Patterns {
    patterns: HashSet<String>,
    bytes: usize,
    too_short: bool,
    too_many: bool,
}

impl Patterns {
    /// Adds a pattern. Returns whether it is new and acceptable.
    fn add(&mut self, pattern: String) -> bool {
        if pattern.chars().take(MIN_SECRET).count() < MIN_SECRET {
            self.too_short = true;
            return false;
        }
        if self.patterns.contains(&pattern) {
            return false;
        }
        if self.bytes + pattern.len() > MAX_SECRETS {
            self.too_many = true;
            return false;
        }
        self.bytes += pattern.len();
        self.patterns.insert(pattern)
    }

    fn build(&mut self) -> Option<NFA> {
        if self.patterns.is_empty() {
            return None;
        }
        let automaton = Builder::new()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .prefilter(false)
            .build(&self.patterns)
            .ok();
        self.too_many |= automaton.is_none();
        automaton
    }
}

/// Returns the other spellings of a secret.
fn spellings(secret: &str) -> impl Iterator<Item = String> {
    let json = serde_json::to_string(secret).expect("a text has a JSON form");
    let mut spellings = vec![
        utf8_percent_encode(secret, PATH_SEGMENT).to_string(),
        json[1..json.len() - 1].to_owned(),
        secret.trim().to_owned(),
    ];
    if is_digits(secret) {
        let digits = secret.trim_start_matches('0');
        // A shorter number could be any number; in JSON it is recognized by its value.
        if digits.len() >= MIN_SECRET {
            spellings.push(digits.to_owned());
        }
    }
    spellings.into_iter().filter(move |it| !it.is_empty())
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the numeric value of a secret made of digits, as the bits of a double.
fn number(secret: &str) -> Option<u64> {
    let number = secret.trim().parse::<f64>().ok()?;
    (is_digits(secret.trim()) && number.is_finite()).then(|| number.to_bits())
}

/// Appends as much of `text` as fits into `max` bytes.
fn push(masked: &mut String, text: &str, max: usize) {
    let room = max - masked.len().min(max);
    masked.push_str(&text[..text.floor_char_boundary(room)]);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};
    use serde_json::json;

    use super::*;
    use crate::{cpu_time::cpu_time, proto::json};

    /// Masks a JSON object.
    fn object(mask: &Mask, value: &serde_json::Value) -> Option<serde_json::Value> {
        let masked = mask.object(&to_struct(value))?;
        Some(json::object(&Some(masked), serde_json::value::Serializer).expect("JSON"))
    }

    fn to_struct(value: &serde_json::Value) -> Struct {
        let fields = value.as_object().expect("an object").iter();
        Struct { fields: fields.map(|(name, value)| (name.clone(), to_value(value))).collect() }
    }

    fn to_value(value: &serde_json::Value) -> Value {
        let kind = match value {
            serde_json::Value::Null => Kind::NullValue(0),
            serde_json::Value::Bool(value) => Kind::BoolValue(*value),
            serde_json::Value::Number(value) => {
                Kind::NumberValue(value.as_f64().expect("a double"))
            }
            serde_json::Value::String(value) => Kind::StringValue(value.clone()),
            serde_json::Value::Array(values) => {
                Kind::ListValue(ListValue { values: values.iter().map(to_value).collect() })
            }
            serde_json::Value::Object(_) => Kind::StructValue(to_struct(value)),
        };
        Value { kind: Some(kind) }
    }

    fn masked(text: &str, secrets: &[&str]) -> String {
        Mask::new(secrets.iter().copied()).text(text)
    }

    #[test]
    fn overlapping_secrets_are_masked_as_a_whole_in_any_order() {
        for (text, secrets, expected, reason) in [
            ("is abcdef bad", &["abc", "abcdef"][..], "is [redacted] bad", "one begins another"),
            ("is abcdef bad", &["abcdef", "abc"], "is [redacted] bad", "the other way round"),
            ("is abcdef bad", &["abcd", "cdef"], "is [redacted] bad", "they overlap"),
            ("is abcdef bad", &["cde", "abcdef"], "is [redacted] bad", "one is within another"),
            ("is abcdef bad", &["abc", "def"], "is [redacted] bad", "they touch"),
            ("is abababa bad", &["aba"], "is [redacted] bad", "it overlaps itself"),
            ("is ABCDEF bad", &["abcdef"], "is [redacted] bad", "in another case"),
            ("is tok%3D%2F bad", &["tok=/"], "is [redacted] bad", "percent-encoded"),
            ("is to\\\"k bad", &["to\"k"], "is [redacted] bad", "escaped as in JSON"),
            ("is 31408 bad", &["031408"], "is [redacted] bad", "a number"),
            ("is (token) bad", &[" token "], "is ([redacted]) bad", "without its blanks"),
            ("is abc bad", &[], "is abc bad", "no secret"),
            ("is abc bad", &[""], "is abc bad", "an empty secret"),
            ("is abc bad", &["e", "abc"], "", "a secret of one letter"),
            ("is abc bad", &["redacted", "abc"], "", "the mask would hold a secret"),
            ("is abc bad", &["] bad", "abc"], "", "the mask would complete a secret"),
            ("is abc bad", &["redacted"], "is abc bad", "a secret that is not there"),
        ] {
            assert_eq!(masked(text, secrets), expected, "{reason}");
        }
    }

    #[test]
    fn a_secret_at_the_cut_leaves_nothing_of_itself() {
        let secret = "0123456789abcdef".repeat(40);
        for before in (MAX_INPUT - secret.len() - 1..=MAX_INPUT).step_by(17) {
            // A long secret comes first, so that the limit of the input applies and not that of the
            // output.
            let long = "x".repeat(before - 10);
            let text = format!("{long}          {secret}{secret}");

            let masked = masked(&text, &[&secret, &long]);

            assert!(!masked.contains("0123") && masked.len() <= 2 * MASK.len() + 10, "{masked}");
        }
        let secret = &secret[..40];
        for before in MAX_TEXT - 60..=MAX_TEXT {
            let masked = masked(&format!("{}{secret}", "é".repeat(before / 2)), &[secret]);

            assert!(masked.len() <= MAX_TEXT && !masked.contains('0'), "{masked}");
        }
    }

    #[test]
    fn a_name_is_hidden_when_it_holds_more_than_a_word_could() {
        let mask = Mask::new(["e", "member", "731408", "secret-with-words"]);

        assert!(!mask.hides_name("member_not_found"));
        assert!(mask.hides_name("code_731408_wrong"));
        assert!(mask.hides_name("no Secret-With-Words"));
    }

    #[test]
    fn an_object_is_masked_as_a_whole_or_not_given_out() {
        let mask = Mask::new(["031408", "token"]);
        let object = |value| object(&mask, &value);
        let deep = |levels| (0..levels).fold(json!(1), |value, _| json!([value]));

        let given =
            json!({"token": [31408, 31408.0, -31408, "31408", "x token", 7, null, 131408.5]});
        let kept = json!({MASK: [MASK, MASK, MASK, MASK, "x [redacted]", 7, null, MASK]});
        assert_eq!(object(given), Some(kept));
        assert_eq!(object(json!({"k": "v".repeat(MAX_OBJECT)})), None, "too long");
        assert_eq!(object(json!({"k": vec![0; MAX_VALUES]})), None, "too many");
        assert_eq!(object(json!({"k": deep(MAX_DEPTH)})), None, "too deep");
        assert!(object(json!({"k": deep(MAX_DEPTH - 1)})).is_some());
        let short = Mask::new(["e"]);
        assert_eq!(short.object(&Struct::default()), None, "it cannot be masked");
    }

    #[test]
    fn more_secrets_than_can_be_looked_for_leave_no_text_and_no_name() {
        let many: Vec<_> = (0..10_000).map(|number| format!("secret-{number}")).collect();
        let mask = Mask::new(many.iter().map(String::as_str));

        assert_eq!(mask.text("all is well"), "");
        assert!(mask.hides_name("not_found"));
    }

    #[test]
    fn the_worst_secrets_are_masked_in_a_time_that_grows_as_the_text_does() {
        // Each secret ends wherever a longer one does, so the automaton's match lists have maximum
        // length.
        let nested: Vec<_> = (MIN_SECRET..150).map(|length| "a".repeat(length)).collect();
        let long = "a".repeat(MAX_SECRETS - 12_000);
        let (mask, took) = cpu_time(|| Mask::new(nested.iter().chain([&long]).map(String::as_str)));
        assert!(took < Duration::from_secs(10), "{took:?}");
        let took = |length| {
            let text = "a".repeat(length);
            let (masked, took) = cpu_time(|| (mask.text(&text), mask.hides_name(&text)));
            assert_eq!(masked, (MASK.to_owned(), true));
            took
        };

        let (short, long) = (took(16 * 1024), took(128 * 1024));

        // A quadratic scan would take 64 times as long.
        assert!(long < 24 * short, "{short:?}, then {long:?}");
    }

    /// Generates secrets of few letters, so that they occur in texts of the same letters.
    fn any_secrets() -> impl Strategy<Value = Vec<String>> {
        let secret = prop_oneof![
            6 => "[abAB01]{3,8}",
            1 => "[abe]{1,2}",
            1 => "[redact\\[\\] ]{3,10}",
            1 => any::<String>(),
        ];
        vec(secret, 0..12)
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[abAB01 é]{0,60}",
            1 => any::<String>(),
            1 => "[ab01]{3,8}".prop_map(|it| it.repeat(2_000)),
        ]
    }

    /// Asserts that `text` contains no secret, regardless of case.
    fn assert_clean(text: &str, secrets: &[String]) -> Result<(), TestCaseError> {
        let text = text.to_ascii_lowercase();
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            prop_assert!(!text.contains(&secret.to_ascii_lowercase()), "{secret:?} in {text:?}");
        }
        Ok(())
    }

    /// Returns for each byte of `text` whether it belongs to a secret, found by brute force.
    fn is_covered(text: &str, secrets: &[String]) -> Vec<bool> {
        let text = text.to_ascii_lowercase();
        let mut covered = vec![false; text.len()];
        for secret in secrets.iter().map(|secret| secret.to_ascii_lowercase()) {
            for at in 0..text.len() {
                if text.as_bytes()[at..].starts_with(secret.as_bytes()) {
                    covered[at..at + secret.len()].fill(true);
                }
            }
        }
        covered
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn for_any_secrets_and_text_the_output_is_bounded_and_holds_no_secret(
            secrets in any_secrets(), text in any_text(),
        ) {
            let mask = Mask::new(secrets.iter().map(String::as_str));

            let masked = mask.text(&text);

            assert_clean(&masked, &secrets)?;
            prop_assert!(masked.len() <= MAX_TEXT.min(4 * text.len()), "{} of {}", masked.len(), text.len());
            let object = json!({ text.as_str(): [text.as_str(), {"k": text.as_str()}] });
            if let Some(masked) = super::tests::object(&mask, &object) {
                let (key, values) = masked.as_object().unwrap().iter().next().unwrap();
                for text in [key.as_str(), values[0].as_str().unwrap(), values[1]["k"].as_str().unwrap()] {
                    assert_clean(text, &secrets)?;
                }
            }
        }

        #[test]
        fn only_secrets_and_what_overlaps_them_are_masked(
            secrets in vec("[ab]{3,6}", 1..6), text in "[abc ]{0,60}",
        ) {
            let covered = is_covered(&text, &secrets);
            let mut expected = String::new();
            for (at, c) in text.char_indices() {
                match (covered[at], at > 0 && covered[at - 1]) {
                    (false, _) => expected.push(c),
                    (true, false) => expected.push_str(MASK),
                    (true, true) => {}
                }
            }

            prop_assert_eq!(Mask::new(secrets.iter().map(String::as_str)).text(&text), expected);
        }
    }
}
