//! Fetches the page of metrics from an admin port.

use std::time::Duration;

use reqwest::{Url, header::ACCEPT};

use super::exposition::Page;
use crate::http_client::{HttpClient, describe};

/// How long a façade may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest page, in bytes. That of a façade with a thousand callers is far shorter.
const MAX_PAGE: usize = 16 * 1024 * 1024;

/// Prometheus' text format, which has no exemplars.
const TEXT: &str = "text/plain; version=0.0.4";

/// Fetches pages from one admin port.
pub(super) struct Scraper {
    client: HttpClient,
    url: Url,
}

impl Scraper {
    /// Prepares to fetch from the admin port at this address. Does not connect yet.
    pub(super) fn new(address: &Url) -> Result<Self, String> {
        // The port is in a network that the user reaches directly.
        let client = HttpClient::new(address, None, |it| it.no_proxy().timeout(TIMEOUT))?;
        let mut url = address.clone();
        url.set_path("/metrics");
        Ok(Self { client, url })
    }

    /// Returns the address, for people.
    pub(super) fn address(&self) -> &str {
        self.url.as_str().trim_end_matches("/metrics")
    }

    /// Fetches the page, or says why there is none.
    pub(super) async fn page(&self) -> Result<Page, String> {
        let address = self.address();
        let not_admin = |what: &str| {
            format!("no façade answered: {address} is not the admin port of a façade: {what}")
        };
        let request = self.client.client().get(self.url.clone()).header(ACCEPT, TEXT);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                return Err(format!("cannot connect to {address}: {}", root_cause(&error)));
            }
            Err(error) if error.is_timeout() => {
                return Err(format!("{address} did not answer within {}s", TIMEOUT.as_secs()));
            }
            Err(error) => return Err(not_admin(&describe(error))),
        };
        if !response.status().is_success() {
            return Err(not_admin(&format!("it answered {}", response.status().as_u16())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_PAGE {
                return Err(not_admin("its page is too large"));
            }
        }
        let page = Page::parse(&String::from_utf8_lossy(&body));
        let page =
            page.map_err(|line| not_admin(&format!("line {line} of its page is no metric")))?;
        if !page.has("totp_facade_") {
            return Err(not_admin("its page has other metrics"));
        }
        Ok(page)
    }
}

/// Returns what an error comes down to. What is above it only says that a connection failed.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
