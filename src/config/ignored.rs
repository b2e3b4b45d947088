//! OpenTelemetry's variables for traces that have no effect here, and what holds instead.
//!
//! A platform sets them for all of its services, so they are no problems. But whoever relies on one
//! has to know.

use std::env;

use crate::otlp;

/// Variables that have no effect.
struct Ignored {
    variables: &'static [&'static str],
    /// What holds instead.
    instead: &'static str,
    /// Whether a value is known to ask for that.
    fits: fn(&str, &otlp::Settings) -> bool,
}

const fn ignored(variables: &'static [&'static str], instead: &'static str) -> Ignored {
    Ignored { variables, instead, fits: |_, _| false }
}

/// All of them, in the order of `docs/traces.md`.
const IGNORED: &[Ignored] = &[
    Ignored {
        variables: &["OTEL_PROPAGATORS"],
        instead: "traceparent and tracestate are read, and no other headers",
        fits: is_trace_context,
    },
    Ignored {
        variables: &["OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_TRACES_INSECURE"],
        instead: "the endpoint decides, by http:// or https://",
        fits: is_scheme,
    },
    ignored(
        &[
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        ],
        "no client certificate is presented",
    ),
    ignored(&["OTEL_BSP_SCHEDULE_DELAY"], "spans are sent every second, or sooner if many wait"),
    ignored(
        &["OTEL_BSP_EXPORT_TIMEOUT"],
        "each request has the time of OTEL_EXPORTER_OTLP_TIMEOUT, or of that for traces",
    ),
    ignored(&["OTEL_BSP_MAX_QUEUE_SIZE"], "8192 spans may wait"),
    ignored(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], "a request has at most 256 spans"),
    ignored(
        &["OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"],
        "a text is cut after 256 bytes",
    ),
    ignored(
        &[
            "OTEL_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        ],
        "the attributes are those of docs/traces.md, and not more",
    ),
    ignored(&["OTEL_SPAN_EVENT_COUNT_LIMIT"], "a span has at most 32 events"),
    ignored(&["OTEL_SPAN_LINK_COUNT_LIMIT"], "a span has at most one link"),
    ignored(
        &["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"],
        "no file is read, and the variables count",
    ),
];

/// Returns a sentence about each variable that is set, unless it is known to ask for what holds.
pub(super) fn warnings(traces: &otlp::Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    for Ignored { variables, instead, fits } in IGNORED {
        for variable in *variables {
            let value = env::var_os(variable).filter(|value| !value.is_empty());
            if value.is_some_and(|value| !fits(&value.to_string_lossy(), traces)) {
                warnings.push(format!("{variable} has no effect: {instead}"));
            }
        }
    }
    warnings
}

/// Whether a list of propagators asks for W3C's trace context, and for nothing that would show.
/// Baggage is for the code of a service, and this one has no use for it.
fn is_trace_context(value: &str, _: &otlp::Settings) -> bool {
    let names: Vec<_> = value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_known = |name: &String| ["tracecontext", "baggage"].contains(&name.as_str());
    names.iter().all(is_known) && names.iter().any(|name| name == "tracecontext")
}

fn is_scheme(value: &str, traces: &otlp::Settings) -> bool {
    value.eq_ignore_ascii_case("true") == (traces.endpoint.scheme() == "http")
}
