//! Logs: where they go, in which form, and what never gets into them.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to standard error from now on, filtered by `filter` (`RUST_LOG`'s syntax).
///
/// # Errors
///
/// When the filter cannot be read.
pub fn init(format: Option<Format>, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
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
    Ok(())
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
