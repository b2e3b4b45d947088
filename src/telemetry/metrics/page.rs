//! Writes the page: Prometheus' text format, or OpenMetrics where the scraper accepts it.

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

use super::buckets::{BOUNDS, Snapshot};

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0, the format that has exemplars.
    OpenMetrics,
}

impl Format {
    /// Returns the format for a request with this `Accept` header: OpenMetrics if the header names
    /// it and does not prefer plain text.
    pub fn accepted(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0.0, 0.0_f32);
        for range in accept.split(',') {
            let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
            let parameter = |name: &str| {
                let mut all = parameters.split(';').filter_map(|it| it.split_once('='));
                all.find_map(|(key, value)| (key.trim() == name).then_some(value.trim()))
            };
            let weight = parameter("q").and_then(|it| it.parse().ok()).unwrap_or(1.0_f32);
            let is_ours = matches!(parameter("version"), None | Some("1.0.0" | "0.0.1"));
            match kind.trim() {
                "application/openmetrics-text" if is_ours => {
                    open_metrics = weight.max(open_metrics);
                }
                "text/plain" => text = weight.max(text),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the content type of a page in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl Kind {
    /// Returns the word for it, the same in both formats.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the table of metrics needs to know of a metric, and how it writes its samples.
pub trait Metric {
    /// Returns the type.
    fn kind(&self) -> Kind;

    /// Returns the names of the labels.
    fn labels(&self) -> Vec<&'static str>;

    /// Adds the samples to the page.
    fn write(&self, samples: &mut Samples<'_>);
}

/// The labels of a sample.
#[derive(Clone, Debug, Default)]
pub struct Labels(String);

impl Labels {
    /// Adds a label.
    pub fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0 += name;
        self.0 += "=\"";
        escape(value, true, &mut self.0);
        self.0.push('"');
    }

    /// Returns these labels and one more.
    fn with(&self, name: &str, value: &str) -> Self {
        let mut labels = self.clone();
        labels.push(name, value);
        labels
    }
}

fn escape(text: &str, is_quoted: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => *out += "\\\\",
            '\n' => *out += "\\n",
            '"' if is_quoted => *out += "\\\"",
            _ => out.push(c),
        }
    }
}

/// A call that stands for the others of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exemplar {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) duration: Duration,
    /// When it ended, since 1970.
    pub(super) at: Duration,
}

/// A page that is being written.
pub(super) struct Page {
    format: Format,
    text: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        // Most pages fit.
        Self { format, text: String::with_capacity(64 * 1024) }
    }

    /// Adds a metric, unless it has no samples. `name` is that of its samples.
    pub(super) fn add(&mut self, name: &'static str, help: &str, metric: &dyn Metric) {
        let (start, kind) = (self.text.len(), metric.kind());
        let family = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.trim_end_matches("_total"),
            _ => name,
        };
        let _ = write!(self.text, "# HELP {family} ");
        escape(help, self.format == Format::OpenMetrics, &mut self.text);
        let _ = writeln!(self.text, "\n# TYPE {family} {}", kind.as_str());
        let samples_start = self.text.len();
        metric.write(&mut Samples { page: self, name });
        if self.text.len() == samples_start {
            self.text.truncate(start);
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text += "# EOF\n";
        }
        self.text
    }
}

/// The samples of a metric that is being written.
pub struct Samples<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl std::fmt::Debug for Samples<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Samples").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Samples<'_> {
    /// Adds the sample of a counter or gauge.
    pub fn add(&mut self, labels: &Labels, number: impl Display) {
        self.line("", labels, number);
        self.page.text.push('\n');
    }

    /// Adds the samples of a histogram. `exemplar` returns the exemplar of a bucket, if it has one.
    pub(super) fn add_histogram(
        &mut self,
        labels: &Labels,
        snapshot: &Snapshot,
        exemplar: impl Fn(usize) -> Option<Exemplar>,
    ) {
        let mut count = 0;
        for (bucket, more) in snapshot.buckets.into_iter().enumerate() {
            count += more;
            let bound = BOUNDS.get(bucket).map_or("+Inf".to_owned(), |it| self.bound(*it));
            self.line("_bucket", &labels.with("le", &bound), count);
            if self.page.format == Format::OpenMetrics
                && let Some(exemplar) = exemplar(bucket)
            {
                self.exemplar(&exemplar);
            }
            self.page.text.push('\n');
        }
        let sum = Duration::from_nanos(snapshot.nanos).as_secs_f64();
        for (suffix, number) in [("_sum", sum.to_string()), ("_count", count.to_string())] {
            self.line(suffix, labels, number);
            self.page.text.push('\n');
        }
    }

    /// Returns a bound in seconds, as each format spells it.
    fn bound(&self, micros: u64) -> String {
        let seconds = Duration::from_micros(micros).as_secs_f64();
        match self.page.format {
            Format::Text => format!("{seconds}"),
            Format::OpenMetrics => format!("{seconds:?}"),
        }
    }

    fn line(&mut self, suffix: &str, Labels(labels): &Labels, number: impl Display) {
        let Self { page, name } = self;
        let _ = match labels.as_str() {
            "" => write!(page.text, "{name}{suffix} {number}"),
            labels => write!(page.text, "{name}{suffix}{{{labels}}} {number}"),
        };
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let Exemplar { trace_id, span_id, duration, at } = exemplar;
        let _ = write!(
            self.page.text,
            " # {{trace_id=\"{}\",span_id=\"{}\"}} {} {}.{:03}",
            hex(trace_id),
            hex(span_id),
            duration.as_secs_f64(),
            at.as_secs(),
            at.subsec_millis(),
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_openmetrics_if_it_names_it_and_does_not_prefer_text() {
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.3", Format::Text),
            (
                // Prometheus 2
                "application/openmetrics-text;version=1.0.0;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                // Prometheus 3
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                // with PrometheusText0.0.4 first among its scrape_protocols
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5",
                Format::Text,
            ),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut labels = Labels::default();

        labels.push("a", "x\"y\\z\n");
        labels.push("b", "");

        assert_eq!(labels.0, r#"a="x\"y\\z\n",b="""#);
    }
}
