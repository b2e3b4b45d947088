//! The metrics about requests to Stytch: how long they took and how they ended.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    histogram::Histogram,
    page::{Kind, Labels, Metric, Samples},
    value::{Counter, Value},
};

/// The HTTP statuses that have series of their own, in order. All other errors share one, and so do
/// all others.
const STATUSES: [u16; 40] = [
    200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    407, 408, 409, 410, 411, 413, 414, 415, 421, 422, 425, 426, 428, 429, 431, 499, 500, 501, 502,
    503, 504,
];

/// How OpenTelemetry names a value that is not on a list.
const OTHER: &str = "_OTHER";

/// Why a request failed, if the HTTP status does not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// There was no connection, or the server declared that it did not process the request.
    Unreachable,
    /// The connection broke after the request was sent.
    Disconnected,
    /// The time limit passed.
    Timeout,
    /// Nobody waited for the response any more.
    Cancelled,
    /// The response was no success, although its status is not one of an error.
    Unexpected,
    /// The body of a success could not be read.
    Unreadable,
}

impl HttpError {
    const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Disconnected,
        Self::Timeout,
        Self::Cancelled,
        Self::Unexpected,
        Self::Unreadable,
    ];

    /// Returns the value of the label `error_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unexpected => "unexpected_status",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpEnd {
    /// The HTTP status, if there was a response.
    pub status: Option<u16>,
    /// Why it failed, unless the status is that of an error.
    pub error: Option<HttpError>,
}

impl HttpEnd {
    const ERRORS: usize = HttpError::ALL.len() + 1;
    /// No status, and the two that others share.
    const UNLISTED: usize = 3;
    const COUNT: usize = (STATUSES.len() + Self::UNLISTED) * Self::ERRORS;

    fn index(self) -> usize {
        let status = match self.status {
            None => 0,
            Some(status) => match STATUSES.binary_search(&status) {
                Ok(place) => place + Self::UNLISTED,
                Err(_) => 1 + usize::from(status >= 400),
            },
        };
        status * Self::ERRORS + self.error.map_or(0, |error| error as usize + 1)
    }

    /// Adds the labels of the end at this place.
    fn write(index: usize, labels: &mut Labels) {
        let (status, error) = (index / Self::ERRORS, index % Self::ERRORS);
        let code = match status {
            0 => String::new(),
            1 | 2 => OTHER.to_owned(),
            listed => STATUSES[listed - Self::UNLISTED].to_string(),
        };
        let is_error = match status {
            0 | 1 => false,
            2 => true,
            listed => STATUSES[listed - Self::UNLISTED] >= 400,
        };
        let error_type = match error {
            0 if is_error => &code,
            0 => "",
            error => HttpError::ALL[error - 1].as_str(),
        };
        labels.push("http_response_status_code", &code);
        labels.push("error_type", error_type);
    }
}

/// The durations of requests, by endpoint and by how they ended. Endpoints are registered when the
/// program starts.
#[derive(Debug, Default)]
pub struct HttpRequests(Mutex<Vec<Arc<HttpEndpoint>>>);

/// The durations of the requests to one endpoint, by how they ended.
pub struct HttpEndpoint {
    method: String,
    server: String,
    port: String,
    template: &'static str,
    /// Created when they are first needed: most ends never happen.
    ends: Box<[OnceLock<Box<Histogram>>]>,
}

impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, template, .. } = self;
        f.debug_struct("HttpEndpoint")
            .field("method", method)
            .field("template", template)
            .finish_non_exhaustive()
    }
}

impl HttpRequests {
    /// Returns the metrics of an endpoint, and adds them to the page.
    pub fn register(
        &self,
        method: &str,
        (server, port): (&str, u16),
        template: &'static str,
    ) -> Arc<HttpEndpoint> {
        let endpoint = Arc::new(HttpEndpoint {
            method: method.to_owned(),
            server: server.to_owned(),
            port: port.to_string(),
            template,
            ends: (0..HttpEnd::COUNT).map(|_| OnceLock::new()).collect(),
        });
        self.lock().push(Arc::clone(&endpoint));
        endpoint
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<HttpEndpoint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpEndpoint {
    /// Returns the path with placeholders.
    pub fn template(&self) -> &'static str {
        self.template
    }

    /// Records a request.
    pub fn record(&self, end: HttpEnd, took: Duration) {
        self.ends[end.index()].get_or_init(Box::default).record(took);
    }
}

impl Metric for HttpRequests {
    fn kind(&self) -> Kind {
        Kind::Histogram
    }

    fn labels(&self) -> Vec<&'static str> {
        vec![
            "http_request_method",
            "server_address",
            "server_port",
            "url_template",
            "http_response_status_code",
            "error_type",
        ]
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for endpoint in &*self.lock() {
            for (index, end) in endpoint.ends.iter().enumerate() {
                let Some(histogram) = end.get() else { continue };
                let mut labels = Labels::default();
                labels.push("http_request_method", &endpoint.method);
                labels.push("server_address", &endpoint.server);
                labels.push("server_port", &endpoint.port);
                labels.push("url_template", endpoint.template);
                HttpEnd::write(index, &mut labels);
                Value::write(&**histogram, &labels, samples);
            }
        }
    }
}

/// How many errors of each type there were. The types are declared when the program starts; all
/// others count as `other`.
#[derive(Debug, Default)]
pub struct ErrorTypes {
    known: OnceLock<Vec<(&'static str, Counter)>>,
    other: Counter,
}

impl ErrorTypes {
    /// Declares the types that are known. Only the first call counts.
    pub fn declare(&self, types: impl IntoIterator<Item = &'static str>) {
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort_unstable();
        types.dedup();
        let counters = types.into_iter().map(|it| (it, Counter::default())).collect();
        let _ = self.known.set(counters);
    }

    /// Counts an error of this type.
    pub fn inc(&self, error_type: &str) {
        let known = self.known.get().map_or(&[][..], Vec::as_slice);
        let place = known.binary_search_by_key(&error_type, |(name, _)| name);
        place.map_or(&self.other, |place| &known[place].1).inc();
    }
}

impl Metric for ErrorTypes {
    fn kind(&self) -> Kind {
        Kind::Counter
    }

    fn labels(&self) -> Vec<&'static str> {
        vec!["error_type"]
    }

    fn write(&self, samples: &mut Samples<'_>) {
        let known = self.known.get().into_iter().flatten().map(|(name, counter)| (*name, counter));
        for (name, counter) in known.chain([("other", &self.other)]) {
            if !counter.is_untouched() || name == "other" {
                let mut labels = Labels::default();
                labels.push("error_type", name);
                Value::write(counter, &labels, samples);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_place_and_statuses_that_are_not_listed_share_one() {
        assert!(STATUSES.is_sorted());
        for (status, error, code, error_type) in [
            (Some(200), None, "200", ""),
            (Some(200), Some(HttpError::Unreadable), "200", "unreadable"),
            (Some(302), Some(HttpError::Unexpected), "302", "unexpected_status"),
            (Some(404), None, "404", "404"),
            (Some(504), None, "504", "504"),
            (Some(504), Some(HttpError::Timeout), "504", "timeout"),
            (Some(299), None, OTHER, ""),
            (Some(418), None, OTHER, OTHER),
            (Some(999), Some(HttpError::Unexpected), OTHER, "unexpected_status"),
            (None, Some(HttpError::Unreachable), "", "unreachable"),
            (None, Some(HttpError::Cancelled), "", "cancelled"),
        ] {
            let (end, mut labels, mut expected) =
                (HttpEnd { status, error }, Labels::default(), Labels::default());

            HttpEnd::write(end.index(), &mut labels);

            expected.push("http_response_status_code", code);
            expected.push("error_type", error_type);
            assert_eq!(format!("{labels:?}"), format!("{expected:?}"), "{end:?}");
        }
    }

    #[test]
    fn error_types_that_are_not_declared_share_one_counter() {
        let types = ErrorTypes::default();
        types.inc("a");
        types.declare(["b", "a", "b"]);

        for name in ["a", "b", "b", "c", ""] {
            types.inc(name);
        }

        let known = types.known.get().unwrap().iter().map(|(name, it)| (*name, it.get()));
        assert!(known.eq([("a", 1), ("b", 2)]));
        assert_eq!(types.other.get(), 3);
    }
}
