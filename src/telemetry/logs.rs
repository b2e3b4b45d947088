//! Logs: their destination, format and filter.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write, stderr},
};

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    filter::{Directive, LevelFilter},
    fmt::{
        self, FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{self, JsonFields, Writer},
        time::SystemTime,
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use super::{
    access_log::{self, ACCESS},
    calls, json,
    limit::{self, Grouped, OfLibrary},
    trail::{self, AuditWrite},
};

/// The log target of audit events, by which they can be filtered and routed.
pub const AUDIT: &str = "audit";

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Which lines are logged.
pub struct Filter {
    filter: EnvFilter,
    /// Whether the filter names the access log.
    names_access: bool,
}

/// Parses a filter in the syntax of `RUST_LOG`. It includes audit events unless it names their
/// target.
///
/// # Errors
///
/// Returns a message that says what is wrong with the filter.
pub fn filter(text: &str) -> Result<Filter, String> {
    Ok(Filter { filter: filter_of(text)?, names_access: names(text, ACCESS) })
}

/// Sends logs to standard error. Without a format, that is text on a terminal and JSON elsewhere.
pub fn init(format: Option<Format>, filter: Filter, write: AuditWrite) {
    let Filter { filter, names_access } = filter;
    trail::set_write(write);
    trail::start();
    if names_access {
        access_log::turn_on();
    }
    let is_terminal = stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    match format.unwrap_or(if is_terminal { Format::Text } else { Format::Json }) {
        Format::Text => {
            let format = format::format().with_ansi(is_terminal);
            let format = Text { format, has_colors: is_terminal };
            // Once more for the fields of spans, which libraries have.
            let layer = fmt::layer().with_ansi(is_terminal).event_format(format);
            registry.with(layer.with_writer(Lines)).init();
        }
        Format::Json => {
            let format = Json(format::format().json().flatten_event(true));
            let layer = fmt::layer().fmt_fields(JsonFields::new()).event_format(format);
            registry.with(layer.with_writer(Lines)).init();
        }
    }
    log_panics();
}

/// Formats lines of text, each with the fields of the current call.
struct Text {
    format: format::Format<format::Full, SystemTime>,
    has_colors: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let metadata = event.metadata();
        let of_library = of_library(metadata);
        if of_library == OfLibrary::LeftOut {
            return Ok(());
        }
        let mut text = String::new();
        self.format.format_event(context, Writer::new(&mut text), event)?;
        let mut line = String::new();
        // Escapes of values are replaced already, those of colors are meant.
        push_printable(&mut line, text.trim_end(), |char| self.has_colors && char == '\x1b');
        if let OfLibrary::Passes(suppressed) = of_library {
            write!(line, " suppressed={suppressed}")?;
        }
        let has = |name: &str| metadata.fields().field(name).is_some();
        calls::with_current(|call| {
            call.fields(has, |name, value| push_field(&mut line, name, value))
        })
        .unwrap_or(Ok(()))?;
        line.push('\n');
        writer.write_str(&line)
    }
}

/// Appends a field. Quotes a value that could be taken for more than one, such as a name with a
/// blank.
fn push_field(line: &mut String, name: &str, value: &str) -> std::fmt::Result {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/@-".contains(&byte);
    match value.bytes().all(is_plain) {
        true => write!(line, " {name}={value}"),
        false => write!(line, " {name}={value:?}"),
    }
}

/// Appends text with its control characters escaped, so that it stays on its line.
fn push_printable(line: &mut String, text: &str, is_kept: impl Fn(char) -> bool) {
    for char in text.chars() {
        match char.is_control() && !is_kept(char) {
            true => line.extend(char.escape_debug()),
            false => line.push(char),
        }
    }
}

/// Formats audit events and access lines by themselves, since there is one for each call.
struct Json(format::Format<format::Json, SystemTime>);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let metadata = event.metadata();
        if is_of_each_call(metadata) {
            return json::write(writer, event);
        }
        let of_library = of_library(metadata);
        if of_library == OfLibrary::LeftOut {
            return Ok(());
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        if let OfLibrary::Passes(suppressed) = of_library {
            json::add_suppressed(&mut line, suppressed);
        }
        json::add_call(&mut line, metadata);
        writer.write_str(&line)
    }
}

/// Limits a line unless it is ours.
fn of_library(metadata: &Metadata<'_>) -> OfLibrary {
    let (root, _) = metadata.target().split_once("::").unwrap_or((metadata.target(), ""));
    match root == env!("CARGO_CRATE_NAME") || is_of_each_call(metadata) {
        true => OfLibrary::No,
        false => limit::of_library(metadata),
    }
}

fn is_of_each_call(metadata: &Metadata<'_>) -> bool {
    is_audit(metadata) || metadata.target() == ACCESS
}

fn is_audit(metadata: &Metadata<'_>) -> bool {
    metadata.target() == AUDIT
}

/// Passes each formatted line on.
struct Lines;

/// Takes one line of a kind.
enum Line {
    Log,
    Audit,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line::Log
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        if is_audit(metadata) { Line::Audit } else { Line::Log }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Audit => trail::add(line),
            Self::Log => trail::log(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a filter lets through that does not name it. An operator who lowers the log level does not
/// mean to turn the audit trail off. The verifier of certificates logs an error for each failure,
/// of which our own lines say more, at a bounded rate.
const UNLESS_NAMED: [(&str, &str); 2] = [(AUDIT, "info"), ("rustls_platform_verifier", "off")];

/// Reads a filter, and adds what it does not name.
fn filter_of(text: &str) -> Result<EnvFilter, String> {
    // An empty filter means errors only; adding a directive would change that.
    let text = if text.trim().is_empty() { "error" } else { text };
    let mut filter =
        EnvFilter::try_new(directives(text)?.join(",")).map_err(|it| it.to_string())?;
    for (target, level) in UNLESS_NAMED.iter().filter(|(target, _)| !names(text, target)) {
        let directive = format!("{target}={level}").parse().map_err(|error| format!("{error}"))?;
        filter = filter.add_directive(directive);
    }
    Ok(filter)
}

/// Splits a filter into its directives, and checks each. A word alone has to be a level or a target
/// of ours: taken for a target, a misspelled level would turn all other lines off.
fn directives(filter: &str) -> Result<Vec<&str>, String> {
    if filter.contains('{') {
        // The fields of a span have commas too.
        return Ok(vec![filter]);
    }
    filter.split(',').map(str::trim).filter(|it| !it.is_empty()).map(check).collect()
}

fn check(directive: &str) -> Result<&str, String> {
    let parsed = directive.parse::<Directive>();
    parsed.map_err(|error| format!("{directive:?}: {error}"))?;
    let target = directive.split(['=', '[']).next().unwrap_or_default();
    let root = target.split("::").next().unwrap_or_default();
    let is_ours = [env!("CARGO_CRATE_NAME"), AUDIT, ACCESS].contains(&root);
    let is_alone = target.len() == directive.len();
    let is_target = target.chars().all(|it| it.is_ascii_alphanumeric() || "_:-".contains(it));
    match is_ours || directive.parse::<LevelFilter>().is_ok() || (is_target && !is_alone) {
        true => Ok(directive),
        false => Err(format!(
            "{directive:?} is neither a level (off, error, warn, info, debug, trace) nor TARGET=LEVEL"
        )),
    }
}

/// Whether a filter names this target.
fn names(filter: &str, target: &str) -> bool {
    filter.split(',').any(|directive| directive.trim().split(['=', '[']).next() == Some(target))
}

/// Logs panics. Only a literal message is shown, because a formatted one may contain data of a
/// call.
fn log_panics() {
    static LIMITS: Grouped = Grouped::new();

    std::panic::set_hook(Box::new(|panic| {
        let Some(suppressed) = LIMITS.pass(panic.location()) else { return };
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload().downcast_ref::<&str>().unwrap_or(&"(not shown)");
        tracing::error!(location, message, suppressed, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_would_silence_by_mistake_is_refused_and_blanks_are_not_minded() {
        for filter in ["inof", "info,warm", "info;access=info", "info,access=inf", "info,,x"] {
            let error = filter_of(filter).map(|_| ()).unwrap_err();

            let part = filter.split(',').next_back().unwrap_or_default();
            assert!(error.contains(part), "{filter}: {error}");
        }
        for filter in
            ["info, access=info", " warn ", "TRACE", "2", "audit", "totp_facade::stytch", "h2=off,"]
        {
            assert!(filter_of(filter).is_ok(), "{filter}");
        }
        assert!(filter_of("info,totp_facade[call{method=a}]=debug").is_ok());
    }

    #[test]
    fn a_name_that_looks_like_more_fields_is_quoted_in_a_line_of_text() {
        for (value, expected) in [
            ("spiffe://a.test/b_c@d-1", " caller=spiffe://a.test/b_c@d-1"),
            ("x caller=admin", " caller=\"x caller=admin\""),
            ("x\" caller=\"admin", " caller=\"x\\\" caller=\\\"admin\""),
            ("x\ncaller=admin", " caller=\"x\\ncaller=admin\""),
            ("x\u{a0}caller=admin", " caller=\"x\\u{a0}caller=admin\""),
        ] {
            let mut line = String::new();
            push_field(&mut line, "caller", value).expect("a string");
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn the_audit_trail_is_part_of_the_logs_unless_it_is_named() {
        const VERIFIER: &str = "rustls_platform_verifier=off,";
        for (filter, expected) in [
            ("info", "audit=info,info"),
            ("off", "audit=info,off"),
            ("", "audit=info,error"),
            ("warn,totp_facade=debug", "totp_facade=debug,audit=info,warn"),
            ("audit=off", "audit=off"),
            ("info,audit=warn", "audit=warn,info"),
            ("auditor=debug", "auditor=debug,audit=info"),
        ] {
            let all = filter_of(filter).expect("a filter").to_string();
            assert_eq!(all, format!("{VERIFIER}{expected}"), "{filter}");
        }
    }

    #[test]
    fn what_a_filter_need_not_name_is_documented() {
        let page = include_str!("../../docs/logs.md");
        for (target, _) in UNLESS_NAMED {
            assert!(page.contains(&format!("target `{target}`")), "{target}");
        }
    }
}
