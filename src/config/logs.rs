//! Logs.

use clap::ValueEnum as _;

use super::{
    kind::{Kind, values_of},
    setting::{Group, Setting, settings},
    unchecked::{FromSettings, Reader},
};
use crate::telemetry::{self, AuditWrite, Filter, Format};

settings! { LOGS "Logs"
    /// Format of the log on standard error: `text` or `json`.
    FORMAT: Format = Setting::new("TOTP_FACADE_LOG_FORMAT", FORMAT_KIND).derived(DEFAULT_FORMAT);

    /// What is logged, for instance `info` or `totp_facade=debug`. `access=info` in addition turns
    /// the access log on, with a line for each call.
    FILTER: String = Setting::new("RUST_LOG", FILTER_KIND).flag("log").default("info");

    /// When the audit event of a call is written: `before-response`, or in the `background` within
    /// 10 ms, in which case a crash may lose the events of calls that have been answered.
    AUDIT_WRITE: AuditWrite = Setting::new("TOTP_FACADE_AUDIT_WRITE", AUDIT_WRITE_KIND)
        .default("before-response");
}

const DEFAULT_FORMAT: &str = "text on a terminal, else json";

const FORMAT_KIND: Kind<Format> = Kind::shown(
    "FORMAT",
    |text| Format::from_str(text, false).map_err(|_| format!("{text:?} is neither text nor json")),
    |format| format!("{format:?}").to_lowercase(),
)
.values(values_of::<Format>);

const FILTER_KIND: Kind<String> =
    Kind::text("FILTER", |text| telemetry::filter(text).map(|_| text.to_owned()));

const AUDIT_WRITE_KIND: Kind<AuditWrite> = Kind::shown(
    "WHEN",
    |text| {
        AuditWrite::from_str(text, false)
            .map_err(|_| format!("{text:?} is neither before-response nor background"))
    },
    |write| write.to_possible_value().map_or_else(String::new, |it| it.get_name().to_owned()),
)
.values(values_of::<AuditWrite>);

/// What is logged, and how.
pub struct LogConfig {
    /// The format, unless it depends on where standard error goes.
    pub format: Option<Format>,
    /// What is logged.
    pub filter: Filter,
    /// Whether nobody has said what is logged.
    pub is_default: bool,
    /// When audit events are written.
    pub audit_write: AuditWrite,
}

impl FromSettings for LogConfig {
    const GROUPS: &'static [&'static Group] = &[&LOGS];
    const IS_GLOBAL: bool = true;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.show(&FORMAT, DEFAULT_FORMAT);
        let (format, filter) = (reader.get(&FORMAT), reader.get(&FILTER));
        let audit_write = reader.get(&AUDIT_WRITE);
        let filter = telemetry::filter(&filter?).ok()?;
        let is_default = !reader.is_given(&FILTER);
        Some(Self { format, filter, is_default, audit_write: audit_write? })
    }
}
