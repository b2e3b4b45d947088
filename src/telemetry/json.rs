//! Audit events and access lines in JSON, in the form that tracing-subscriber gives log lines, at a
//! fraction of its cost: no intermediate map, and no allocation once a thread has a buffer. And the
//! fields of the current call, in any line.

use std::{
    cell::Cell,
    convert::Infallible,
    fmt::{self, Debug, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use humantime::format_rfc3339_micros;
use serde_json::Number;
use tracing::{
    Event, Metadata,
    field::{Field, Visit},
};
use tracing_subscriber::fmt::format::Writer;

use super::calls;

/// What a thread's buffer that once held more is shrunk to.
const MAX_SPARE: usize = 4 * 1024;

/// Writes an event as a JSON object on a line of its own.
pub(super) fn write(mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    thread_local! {
        static SPARE: Cell<String> = const { Cell::new(String::new()) };
    }
    // `writer` takes each piece through a virtual call, so it gets the whole line in one.
    let mut line = SPARE.take();
    let result = format(&mut line, event).and_then(|()| writer.write_str(&line));
    line.clear();
    line.shrink_to(MAX_SPARE);
    SPARE.set(line);
    result
}

fn format(line: &mut String, event: &Event<'_>) -> fmt::Result {
    let metadata = event.metadata();
    line.push_str("{\"timestamp\":\"");
    // A clock before 1970 is wrong anyway.
    write!(line, "{}", format_rfc3339_micros(SystemTime::now().max(UNIX_EPOCH)))?;
    line.push_str("\",\"level\":\"");
    line.push_str(metadata.level().as_str());
    line.push('"');
    event.record(&mut Fields(line));
    line.push_str(",\"target\":\"");
    push_escaped(line, metadata.target());
    line.push_str("\"}\n");
    add_call(line, metadata);
    Ok(())
}

/// Adds how many lines were left out to a line that is complete.
pub(super) fn add_suppressed(line: &mut String, suppressed: u64) {
    reopen(line);
    let _ = writeln!(line, ",\"suppressed\":{suppressed}}}");
}

/// Removes the end of a line that is complete: the brace that ends the object, and the line break.
fn reopen(line: &mut String) {
    line.truncate(line.trim_end().len() - 1);
}

/// Adds the fields of the current call, if any, to a line that is complete, apart from those that
/// it has by itself.
pub(super) fn add_call(line: &mut String, metadata: &Metadata<'_>) {
    calls::with_current(|call| {
        reopen(line);
        let has = |name: &str| metadata.fields().field(name).is_some();
        let Ok(()) = call.fields(has, |name, value| {
            // An identifier.
            line.extend([",\"", name, "\":\""]);
            push_escaped(line, value);
            line.push('"');
            Ok::<(), Infallible>(())
        });
        line.push_str("}\n");
    });
}

/// Appends each field of an event as a member of the object.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn begin(&mut self, field: &Field) -> &mut String {
        self.0.push_str(",\"");
        // An identifier.
        self.0.push_str(field.name());
        self.0.push_str("\":");
        self.0
    }

    fn push(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let _ = self.begin(field).write_fmt(value);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let line = self.begin(field);
        line.push('"');
        push_escaped(line, value);
        line.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match Number::from_f64(value) {
            Some(number) => self.push(field, format_args!("{number}")),
            None => self.push(field, format_args!("null")),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let line = self.begin(field);
        line.push('"');
        let _ = write!(Escaped(line), "{value:?}");
        line.push('"');
    }
}

/// Escapes what is written to it for a JSON string.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

fn push_escaped(line: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = first_special(rest) {
        line.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => line.push_str("\\\""),
            b'\\' => line.push_str("\\\\"),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x08 => line.push_str("\\b"),
            0x0c => line.push_str("\\f"),
            control => {
                let _ = write!(line, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    line.push_str(rest);
}

/// Returns where the first byte is that JSON does not allow in a string as it is.
fn first_special(text: &str) -> Option<usize> {
    let is_special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let special = words.iter().position(|word| has_special(*word));
    let (begin, tail) = match special {
        Some(word) => (word * 8, &words[word][..]),
        None => (words.len() * 8, rest),
    };
    tail.iter().position(is_special).map(|at| begin + at)
}

/// Whether one of eight bytes is special, without a branch. A byte above 0x7f never is: the last
/// step ignores it.
fn has_special(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_ne_bytes(word);
    // Sets the top bit of each byte that is zero; of others, only after a zero below.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ (ONES * u64::from(b'"')));
    let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & (ONES * 0x80) != 0
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use proptest::prelude::*;
    use tracing::subscriber::with_default;
    use tracing_subscriber::{
        fmt::{self as layer, FmtContext, FormatEvent, FormatFields, MakeWriter},
        layer::SubscriberExt as _,
        registry::{LookupSpan, Registry},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    struct Ours;

    impl<S, N> FormatEvent<S, N> for Ours
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
        N: for<'writer> FormatFields<'writer> + 'static,
    {
        fn format_event(
            &self,
            _: &FmtContext<'_, S, N>,
            writer: Writer<'_>,
            event: &Event<'_>,
        ) -> fmt::Result {
            write(writer, event)
        }
    }

    /// Returns the line of an event as this formatter and as tracing-subscriber prints it.
    fn lines(event: impl Fn()) -> (String, String) {
        let (ours, theirs) = (Lines::default(), Lines::default());
        let layer = layer::layer().event_format(Ours).with_writer(ours.clone());
        with_default(Registry::default().with(layer), &event);
        let layer = layer::layer().json().flatten_event(true).with_writer(theirs.clone());
        with_default(Registry::default().with(layer), &event);
        let text = |lines: Lines| String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        (text(ours), text(theirs))
    }

    /// Replaces the digits of the timestamp.
    fn timeless(line: &str) -> String {
        let (head, rest) = line.split_at(line.find(",\"level\"").expect("a level"));
        head.replace(|c: char| c.is_ascii_digit(), "0") + rest
    }

    proptest! {
        #[test]
        fn an_event_is_printed_as_tracing_subscriber_prints_it(
            text in any::<String>(),
            controls in "[\u{0}-\u{2f}\\\\\u{7f}-\u{a0}]{0,40}",
            none in proptest::option::of("[a-z]{1,9}"),
            number in any::<u64>(),
            signed in any::<i64>(),
            double in any::<f64>(),
            flag in any::<bool>(),
        ) {
            let (ours, theirs) = lines(|| tracing::info!(
                target: "audit",
                text = text.as_str(),
                controls = controls.as_str(),
                none = none.as_deref(),
                number,
                signed,
                double,
                flag,
                "call ended"
            ));

            prop_assert_eq!(timeless(&ours), timeless(&theirs));
        }
    }

    #[test]
    fn every_control_character_is_escaped_as_tracing_subscriber_does() {
        let text: String = (0..=0x100).filter_map(char::from_u32).collect();
        let (ours, theirs) = lines(|| {
            tracing::warn!(target: "audit", debug = ?text, "a \"message\" of {text}");
        });

        assert_eq!(timeless(&ours), timeless(&theirs));
        assert!(ours.starts_with("{\"timestamp\":\"20") && ours.ends_with("\"audit\"}\n"));
    }
}
