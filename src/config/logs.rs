//! Logs.

use clap::ValueEnum as _;

use super::{
    kind::Kind,
    setting::{Group, Setting, settings},
    unchecked::{FromSettings, Reader},
};
use crate::telemetry::{self, Filter, Format};

settings! { LOGS "Logs"
    /// Format of the log on standard error: `text` or `json`.
    FORMAT: Format = Setting::new("TOTP_FACADE_LOG_FORMAT", FORMAT_KIND).derived(DEFAULT_FORMAT);

    /// What is logged, for instance `info` or `totp_facade=debug`.
    FILTER: String = Setting::new("RUST_LOG", FILTER_KIND).flag("log").default("info");
}

const DEFAULT_FORMAT: &str = "text on a terminal, else json";

const FORMAT_KIND: Kind<Format> = Kind::shown(
    "FORMAT",
    |text| Format::from_str(text, false).map_err(|_| format!("{text:?} is neither text nor json")),
    |format| format!("{format:?}").to_lowercase(),
);

const FILTER_KIND: Kind<String> =
    Kind::text("FILTER", |text| telemetry::filter(text).map(|_| text.to_owned()));

/// What is logged, and how.
pub struct LogConfig {
    /// The format, unless it depends on where standard error goes.
    pub format: Option<Format>,
    /// What is logged.
    pub filter: Filter,
}

impl FromSettings for LogConfig {
    const GROUPS: &'static [&'static Group] = &[&LOGS];
    const IS_GLOBAL: bool = true;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.show(&FORMAT, DEFAULT_FORMAT);
        let (format, filter) = (reader.get(&FORMAT), reader.get(&FILTER));
        Some(Self { format, filter: telemetry::filter(&filter?).ok()? })
    }
}
