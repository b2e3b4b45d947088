//! Logs: their destination, format and filter.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

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
pub fn init(format: Option<Format>, Filter(filter): Filter) {
    let is_terminal = stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    match format.unwrap_or(if is_terminal { Format::Text } else { Format::Json }) {
        Format::Text => {
            let layer = fmt::layer().with_writer(stderr).with_ansi(is_terminal);
            registry.with(layer).init();
        }
        Format::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(stderr);
            registry.with(layer).init();
        }
    }
    log_panics();
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
