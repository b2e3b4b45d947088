//! Logs: their destination, format and filter.

use std::io::{self, IsTerminal as _, Write, stderr};

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter,
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
    audit_json,
    output::STDERR,
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

/// Which events are logged.
pub struct Filter(EnvFilter);

/// Parses a filter in the syntax of `RUST_LOG`. It includes audit events unless it names their
/// target.
///
/// # Errors
///
/// Returns a message that says what is wrong with the filter.
pub fn filter(text: &str) -> Result<Filter, String> {
    filter_of(text).map(Filter)
}

/// Sends logs to standard error. Without a format, that is text on a terminal and JSON elsewhere.
pub fn init(format: Option<Format>, Filter(filter): Filter, write: AuditWrite) {
    trail::set_write(write);
    let is_terminal = stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    match format.unwrap_or(if is_terminal { Format::Text } else { Format::Json }) {
        Format::Text => {
            let layer = fmt::layer().with_writer(Lines).with_ansi(is_terminal);
            registry.with(layer).init();
        }
        Format::Json => {
            let format = Json(format::format().json().flatten_event(true));
            let layer = fmt::layer().fmt_fields(JsonFields::new()).event_format(format);
            registry.with(layer.with_writer(Lines)).init();
        }
    }
    log_panics();
}

/// Formats audit records by themselves, since there is one for each call.
struct Json(format::Format<format::Json, SystemTime>);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        match is_audit(event.metadata()) {
            true => audit_json::write(writer, event),
            false => self.0.format_event(context, writer, event),
        }
    }
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
            Self::Log => STDERR.write(line),
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
    let target = |directive: &str| directive.trim().split(['=', '[']).next().map(str::to_owned);
    if text.split(',').any(|directive| target(directive).as_deref() == Some(AUDIT)) {
        return Ok(filter);
    }
    let directive = format!("{AUDIT}=info").parse().map_err(|error| format!("{error}"))?;
    Ok(filter.add_directive(directive))
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
