//! Traces, by OpenTelemetry's own variables.
//!
//! They are the same for all services of a platform, which sets them once. So a variable that has
//! no effect here is no problem, and one that has the wrong value is. OpenTelemetry would have that
//! value ignored, and traces would be missed only when they are needed. Words count in any case.

use std::{path::PathBuf, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::{
    kind::{AUTHORITIES, Kind, SWITCH, TEXT},
    setting::{Setting, settings},
    unchecked::Reader,
};
use crate::{
    otlp::{self, Protocol},
    telemetry::trace::{Options, Root, Sampler},
};

settings! { TRACES "Traces"
    /// Where to send traces by OTLP (docs/traces.md). With `http/protobuf`, `v1/traces` is added to
    /// the path.
    ENDPOINT: Url =
        Setting::new("OTEL_EXPORTER_OTLP_ENDPOINT", URL).derived("no traces").without_flag();

    /// Where to send traces by OTLP, as it is; instead of OTEL_EXPORTER_OTLP_ENDPOINT.
    TRACES_ENDPOINT: Url = Setting::new("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", URL).without_flag();

    /// How OTLP is spoken there: `grpc` or `http/protobuf`.
    PROTOCOL: Protocol =
        Setting::new("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL_KIND)
            .default("http/protobuf").without_flag();

    /// The same for traces; instead of OTEL_EXPORTER_OTLP_PROTOCOL.
    TRACES_PROTOCOL: Protocol =
        Setting::new("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", PROTOCOL_KIND).without_flag();

    /// Headers to send with traces, such as credentials: `NAME=VALUE`, separated by commas, with
    /// values percent-encoded.
    HEADERS: HeaderMap = Setting::new("OTEL_EXPORTER_OTLP_HEADERS", Kind::secret(headers));

    /// The same for traces; instead of OTEL_EXPORTER_OTLP_HEADERS.
    TRACES_HEADERS: HeaderMap =
        Setting::new("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Kind::secret(headers));

    /// Whether requests with traces are compressed: `gzip` or `none`.
    COMPRESSION: bool =
        Setting::new("OTEL_EXPORTER_OTLP_COMPRESSION", COMPRESSION_KIND)
            .default("none").without_flag();

    /// The same for traces; instead of OTEL_EXPORTER_OTLP_COMPRESSION.
    TRACES_COMPRESSION: bool =
        Setting::new("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", COMPRESSION_KIND).without_flag();

    /// Time for a request with traces, in milliseconds.
    TIMEOUT: Duration =
        Setting::new("OTEL_EXPORTER_OTLP_TIMEOUT", MILLISECONDS).default("10000").without_flag();

    /// The same for traces; instead of OTEL_EXPORTER_OTLP_TIMEOUT.
    TRACES_TIMEOUT: Duration =
        Setting::new("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", MILLISECONDS).without_flag();

    /// PEM file of authorities to trust in addition to the system's when traces are sent.
    CERTIFICATE: PathBuf =
        Setting::new("OTEL_EXPORTER_OTLP_CERTIFICATE", AUTHORITIES).without_flag();

    /// The same for traces; instead of OTEL_EXPORTER_OTLP_CERTIFICATE.
    TRACES_CERTIFICATE: PathBuf =
        Setting::new("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", AUTHORITIES).without_flag();

    /// Whether there are traces: `otlp`, or `none` where the endpoint is for something else.
    EXPORTER: bool =
        Setting::new("OTEL_TRACES_EXPORTER", EXPORTER_KIND).default("otlp").without_flag();

    /// The name of this service in traces.
    SERVICE_NAME: String =
        Setting::new("OTEL_SERVICE_NAME", TEXT).derived("totp-facade").without_flag();

    /// What traces say about this process: `NAME=VALUE`, separated by commas, with values
    /// percent-encoded.
    RESOURCE_ATTRIBUTES: Vec<(String, String)> =
        Setting::new("OTEL_RESOURCE_ATTRIBUTES", ATTRIBUTES).without_flag();

    /// Which calls are recorded: `always_on`, `always_off` or `traceidratio`, or the same after
    /// `parentbased_`, for calls whose caller has not decided.
    SAMPLER: Sampler =
        Setting::new("OTEL_TRACES_SAMPLER", SAMPLER_KIND)
            .default("parentbased_always_on").without_flag();

    /// The share of calls that `traceidratio` records.
    SAMPLER_ARG: f64 = Setting::new("OTEL_TRACES_SAMPLER_ARG", RATIO).default("1").without_flag();

    /// Turn traces off.
    DISABLED: bool = Setting::new("OTEL_SDK_DISABLED", ANY_SWITCH).default("false").without_flag();

    /// Send `traceparent` and `tracestate` to Stytch too.
    PROPAGATION: bool =
        Setting::new("TOTP_FACADE_TRACE_PROPAGATION", SWITCH).default("false").without_flag();

    /// Show the ids of organizations, members and TOTP registrations in spans.
    IDS: bool = Setting::new("TOTP_FACADE_TRACE_IDS", SWITCH).default("false").without_flag();
}

const URL: Kind<Url> = Kind::text("URL", url);

const PROTOCOL_KIND: Kind<Protocol> = Kind::shown(
    "PROTOCOL",
    |text| match &*text.to_ascii_lowercase() {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::Http),
        _ => Err(format!("{text:?} is neither grpc nor http/protobuf")),
    },
    |protocol| match protocol {
        Protocol::Grpc => "grpc".to_owned(),
        Protocol::Http => "http/protobuf".to_owned(),
    },
);

const COMPRESSION_KIND: Kind<bool> = Kind::shown(
    "COMPRESSION",
    |text| match &*text.to_ascii_lowercase() {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(format!("{text:?} is neither gzip nor none")),
    },
    |is_compressed| if *is_compressed { "gzip" } else { "none" }.to_owned(),
);

const MILLISECONDS: Kind<Duration> = Kind::shown(
    "MILLISECONDS",
    |text| {
        let milliseconds = text.parse().ok().filter(|number| (1..=600_000).contains(number));
        let milliseconds = milliseconds.map(Duration::from_millis);
        milliseconds.ok_or_else(|| format!("{text:?} is not a number from 1 to 600000"))
    },
    |timeout| timeout.as_millis().to_string(),
)
.limits("1 to 600000");

const EXPORTER_KIND: Kind<bool> = Kind::shown(
    "EXPORTER",
    |text| match &*text.to_ascii_lowercase() {
        "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err(format!("{text:?} is neither otlp nor none")),
    },
    |is_on| if *is_on { "otlp" } else { "none" }.to_owned(),
);

const ATTRIBUTES: Kind<Vec<(String, String)>> =
    Kind::shown("ATTRIBUTES", attributes, |attributes| {
        let shown = attributes.iter().map(|(name, value)| format!("{name}={value}"));
        shown.collect::<Vec<_>>().join(",")
    });

const SAMPLER_KIND: Kind<Sampler> = Kind::shown("SAMPLER", sampler, |sampler| {
    let name = match sampler.root {
        Root::All => "always_on",
        Root::None => "always_off",
        Root::Ratio(_) => "traceidratio",
    };
    format!("{}{name}", if sampler.follows_caller { PARENT_BASED } else { "" })
});

const PARENT_BASED: &str = "parentbased_";

const RATIO: Kind<f64> = Kind::text("SHARE", |text| {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
})
.limits("0 to 1");

const ANY_SWITCH: Kind<bool> = Kind::text("BOOL", |text| {
    let lower = text.to_ascii_lowercase();
    lower.parse().map_err(|_| format!("{text:?} is neither true nor false"))
});

/// Reads where traces go, if anywhere.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Option<otlp::Settings>> {
    let endpoint = endpoint(reader);
    let headers = specific(reader, &TRACES_HEADERS, &HEADERS);
    let is_compressed = specific(reader, &TRACES_COMPRESSION, &COMPRESSION);
    let ca_file = specific(reader, &TRACES_CERTIFICATE, &CERTIFICATE);
    let timeout = specific(reader, &TRACES_TIMEOUT, &TIMEOUT);
    let resource = resource(reader);
    let options = options(reader);
    let (is_disabled, is_on) = (reader.get(&DISABLED)?, reader.get(&EXPORTER)?);
    let Some((endpoint, protocol)) = endpoint? else {
        reader.show(&ENDPOINT, "(not set: no traces)");
        reader.hide_unset(&TRACES, &ENDPOINT);
        for setting in [&PROPAGATION, &IDS] {
            if reader.get(setting) == Some(true) {
                reader.report(setting, format!("needs {ENDPOINT}"));
            }
        }
        return Some(None);
    };
    let settings = otlp::Settings {
        endpoint,
        protocol,
        headers: headers.unwrap_or_default(),
        is_compressed: is_compressed?,
        timeout: timeout?,
        ca_file,
        resource: resource?,
        options: options?,
    };
    Some(Some(settings).filter(|_| is_on && !is_disabled))
}

/// Returns the value of the first setting that is set, or the default of the second.
fn specific<T>(reader: &mut Reader<'_>, specific: &Setting<T>, general: &Setting<T>) -> Option<T> {
    // Both are checked, whichever counts.
    let general = reader.get(general);
    if reader.is_given(specific) { reader.get(specific) } else { general }
}

/// Returns where traces go, and how: `None` after a problem, `Some(None)` for nowhere.
fn endpoint(reader: &mut Reader<'_>) -> Option<Option<(Url, Protocol)>> {
    let protocol = specific(reader, &TRACES_PROTOCOL, &PROTOCOL);
    let given = reader.is_given(&TRACES_ENDPOINT) || reader.is_given(&ENDPOINT);
    let (own, general) = (reader.get(&TRACES_ENDPOINT), reader.get(&ENDPOINT));
    let protocol = protocol?;
    let endpoint = match (own, general) {
        (Some(own), _) => own,
        (None, Some(general)) if !reader.is_given(&TRACES_ENDPOINT) => match protocol {
            Protocol::Grpc => general,
            Protocol::Http => with_path_of_traces(general),
        },
        _ => return (!given).then_some(None),
    };
    reader.show(&TRACES_ENDPOINT, endpoint.as_str());
    Some(Some((endpoint, protocol)))
}

fn with_path_of_traces(mut base: Url) -> Url {
    let path = format!("{}/v1/traces", base.path().trim_end_matches('/'));
    base.set_path(&path);
    base
}

fn options(reader: &mut Reader<'_>) -> Option<Options> {
    let sampler = reader.get(&SAMPLER);
    let (is_passed_on, shows_ids) = (reader.get(&PROPAGATION), reader.get(&IDS));
    let sampler = match sampler? {
        Sampler { follows_caller, root: Root::Ratio(_) } => {
            Sampler { follows_caller, root: Root::Ratio(reader.get(&SAMPLER_ARG)?) }
        }
        sampler => {
            reader.show(&SAMPLER_ARG, "(not used)");
            sampler
        }
    };
    Some(Options { sampler, is_passed_on: is_passed_on?, shows_ids: shows_ids? })
}

/// Returns what traces say about this process: what is known, and what the operator adds.
fn resource(reader: &mut Reader<'_>) -> Option<Vec<(String, String)>> {
    const NAME: &str = "service.name";
    let is_given = reader.is_given(&RESOURCE_ATTRIBUTES);
    let added = reader.get(&RESOURCE_ATTRIBUTES);
    let added = if is_given { added? } else { Vec::new() };
    let named = added.iter().find(|(key, _)| key == NAME).map(|(_, name)| name.clone());
    let default = || Some(named.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned()));
    let name = reader.get_or(&SERVICE_NAME, default)?;
    let mut attributes: Vec<_> = [
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.name", env!("CARGO_PKG_NAME")),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    attributes.push(("service.instance.id".to_owned(), uuid::Uuid::new_v4().to_string()));
    for (key, value) in added.into_iter().chain([(NAME.to_owned(), name)]) {
        attributes.retain(|(known, _)| *known != key);
        attributes.push((key, value));
    }
    Some(attributes)
}

fn url(text: &str) -> Result<Url, String> {
    const FORM: &str = "is not a URL that begins with http:// or https://";
    let url = Url::parse(text).map_err(|_| FORM)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        Err(FORM.to_owned())
    } else if !url.username().is_empty() || url.password().is_some() {
        Err(format!("must not hold credentials; see {HEADERS}"))
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("must not have a query or a fragment".to_owned())
    } else {
        Ok(url)
    }
}

fn sampler(text: &str) -> Result<Sampler, String> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix(PARENT_BASED);
    let root = match name.unwrap_or(&lower) {
        "always_on" => Root::All,
        "always_off" => Root::None,
        "traceidratio" => Root::Ratio(1.0),
        _ => {
            return Err(format!(
                "{text:?} is none of always_on, always_off and traceidratio, with or without \
                 {PARENT_BASED} before it"
            ));
        }
    };
    Ok(Sampler { follows_caller: name.is_some(), root })
}

/// Reads `NAME=VALUE`, separated by commas. It may hold credentials, so no problem quotes it.
fn attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    };
    let pairs: Option<Vec<_>> = parts.map(pair).collect();
    pairs.ok_or_else(|| "is not a list of NAME=VALUE, separated by commas".to_owned())
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in attributes(text)? {
        let name: HeaderName = name.parse().map_err(|_| "a NAME is not that of a header")?;
        let mut value: HeaderValue =
            value.parse().map_err(|_| format!("the value of {name} is not that of a header"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_headers_is_read_as_the_specification_says_and_no_problem_quotes_it() {
        for (text, expected) in [
            ("a=b", Ok(vec![("a", "b")])),
            (" a = b , C=d%20e%3D ,", Ok(vec![("a", "b"), ("c", "d e=")])),
            ("authorization=Bearer%20x==", Ok(vec![("authorization", "Bearer x==")])),
            ("", Ok(vec![])),
            ("never-printed", Err(())),
            ("=never-printed", Err(())),
            ("a b=never-printed", Err(())),
            ("a=never%0Aprinted", Err(())),
            ("a=never%ff-printed", Err(())),
        ] {
            let read = headers(text);

            if let Ok(headers) = &read {
                assert!(headers.values().all(HeaderValue::is_sensitive));
            }
            let problem = read.as_ref().err().cloned().unwrap_or_default();
            assert!(!problem.contains("never"), "{problem}");
            let read: Result<Vec<_>, _> = read.as_ref().map_err(|_| ()).map(|headers| {
                headers.iter().map(|(name, it)| (name.as_str(), it.to_str().unwrap())).collect()
            });
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn the_path_of_traces_is_added_to_an_endpoint_for_all_signals() {
        for (base, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://example.com/otlp/", "https://example.com/otlp/v1/traces"),
        ] {
            assert_eq!(with_path_of_traces(url(base).unwrap()).as_str(), expected);
        }
    }
}
