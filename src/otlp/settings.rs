//! Where traces go, and what they say about this process.

use std::{path::PathBuf, time::Duration};

use http::HeaderMap;
use reqwest::Url;

use crate::{http_client::is_confidential, telemetry::trace::Options};

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf messages over HTTP.
    Http,
}

/// The validated settings of traces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where traces go: with HTTP, the whole URL to send them to.
    pub endpoint: Url,
    /// How OTLP is spoken there.
    pub protocol: Protocol,
    /// What to send with each request. Its values are marked as sensitive.
    pub headers: HeaderMap,
    /// Whether requests are compressed with gzip.
    pub is_compressed: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// A PEM file of authorities to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The attributes of this process, such as `service.name`.
    pub resource: Vec<(String, String)>,
    /// What is recorded, and who learns of it.
    pub options: Options,
}

impl Settings {
    /// Whether somebody on the network can read the headers.
    pub fn exposes_headers(&self) -> bool {
        !self.headers.is_empty() && !is_confidential(&self.endpoint)
    }

    /// Sends every span there.
    #[cfg(test)]
    pub(super) fn for_test(endpoint: &str, protocol: Protocol) -> Self {
        use crate::telemetry::trace::{Root, Sampler};

        let sampler = Sampler { follows_caller: false, root: Root::All };
        Self {
            endpoint: endpoint.parse().expect("a URL"),
            protocol,
            headers: HeaderMap::new(),
            is_compressed: false,
            timeout: Duration::from_secs(10),
            ca_file: None,
            resource: Vec::new(),
            options: Options { sampler, is_passed_on: false, shows_ids: false },
        }
    }
}
