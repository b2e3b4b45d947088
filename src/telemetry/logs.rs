//! Logs: where they go, in which form, and what never gets into them.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The target of the audit trail's events, so that they can be routed by themselves.
pub const AUDIT: &str = "audit";

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged.
pub struct Filter(EnvFilter);

/// Reads a filter (`RUST_LOG`'s syntax). The audit trail is part of it unless it says otherwise by name.
///
/// # Errors
///
/// When it cannot be read.
pub fn filter(text: &str) -> Result<Filter, String> {
    filter_of(text).map(Filter)
}

/// Sends logs to standard error from now on.
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

/// The filter, and the audit trail if it does not name it: an operator who asks for less noise does not mean
/// that.
fn filter_of(text: &str) -> Result<EnvFilter, String> {
    // An empty filter means errors, which a further directive would undo.
    let text = if text.trim().is_empty() { "error" } else { text };
    let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    let target = |directive: &str| directive.trim().split(['=', '[']).next().map(str::to_owned);
    if text.split(',').any(|directive| target(directive).as_deref() == Some(AUDIT)) {
        return Ok(filter);
    }
    let directive = format!("{}=info", AUDIT).parse().map_err(|error| format!("{error}"))?;
    Ok(filter.add_directive(directive))
}

/// Reports panics as log lines. Only a message that is a literal is printed, for a formatted one may
/// hold a value of the call.
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
