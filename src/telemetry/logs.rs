//! Logs: their destination, format and filter.

use std::io::{self, IsTerminal as _, Write, stderr};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    fmt::{
        self, FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{self, DefaultFields, JsonFields, Writer},
        time::SystemTime,
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use super::{
    access_log::{self, ACCESS},
    calls, json,
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
    if names_access {
        access_log::turn_on();
    }
    let is_terminal = stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    match format.unwrap_or(if is_terminal { Format::Text } else { Format::Json }) {
        Format::Text => {
            let layer = fmt::layer().fmt_fields(TextFields(DefaultFields::new()));
            registry.with(layer.with_writer(Lines).with_ansi(is_terminal)).init();
        }
        Format::Json => {
            let format = Json(format::format().json().flatten_event(true));
            let layer = fmt::layer().fmt_fields(JsonFields::new()).event_format(format);
            registry.with(layer.with_writer(Lines)).init();
        }
    }
    log_panics();
}

/// Adds the fields of the current call to those of a line of text.
struct TextFields(DefaultFields);

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        let mut names = Names::default();
        fields.record(&mut names);
        self.0.format_fields(writer.by_ref(), fields)?;
        let call = calls::with_current(|call| {
            call.fields(
                |name| names.0.contains(&name),
                |name, value| write!(writer, " {name}={value}"),
            )
        });
        call.unwrap_or(Ok(()))
    }
}

/// The names of the fields of a line.
#[derive(Default)]
struct Names(Vec<&'static str>);

impl Visit for Names {
    fn record_debug(&mut self, field: &Field, _: &dyn std::fmt::Debug) {
        self.0.push(field.name());
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
        if is_of_each_call(event.metadata()) {
            return json::write(writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        json::add_call(&mut line, event.metadata());
        writer.write_str(&line)
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

/// Adds audit events to a filter that does not name them: an operator who lowers the log level does
/// not mean to turn the audit trail off.
fn filter_of(text: &str) -> Result<EnvFilter, String> {
    // An empty filter means errors only; adding a directive would change that.
    let text = if text.trim().is_empty() { "error" } else { text };
    let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    if names(text, AUDIT) {
        return Ok(filter);
    }
    let directive = format!("{AUDIT}=info").parse().map_err(|error| format!("{error}"))?;
    Ok(filter.add_directive(directive))
}

/// Whether a filter names this target.
fn names(filter: &str, target: &str) -> bool {
    filter.split(',').any(|directive| directive.trim().split(['=', '[']).next() == Some(target))
}

/// Logs panics. Only a literal message is shown, because a formatted one may contain data of a
/// call.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload().downcast_ref::<&str>().unwrap_or(&"(not shown)");
        tracing::error!(location, message, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_trail_is_part_of_the_logs_unless_it_is_named() {
        for (filter, expected) in [
            ("info", "audit=info,info"),
            ("off", "audit=info,off"),
            ("", "audit=info,error"),
            ("warn,totp_facade=debug", "totp_facade=debug,audit=info,warn"),
            ("audit=off", "audit=off"),
            ("info,audit=warn", "audit=warn,info"),
            ("auditor=debug", "auditor=debug,audit=info"),
        ] {
            assert_eq!(filter_of(filter).expect("a filter").to_string(), expected, "{filter}");
        }
    }
}
