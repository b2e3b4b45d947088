//! The one way to build an HTTP client, with the rules that hold for every one of them.
//!
//! A redirect is not followed, nothing is retried behind the caller's back, and what is on this machine is reached
//! directly: a proxy of the environment (`HTTP_PROXY`) could otherwise answer in its place.

use std::{error::Error, path::Path};

use reqwest::{Certificate, Client, ClientBuilder, Url, redirect::Policy};

use crate::files::{Content, pem, what_is_wrong};

const USER_AGENT: &str = concat!("totp-facade/", env!("CARGO_PKG_VERSION"));

/// A client that trusts the system's authorities and those of a file, if there is one.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: Client,
    /// What the file lacks, if it is empty.
    missing: Option<String>,
}

impl Content for HttpClient {
    fn missing(&self) -> Option<String> {
        self.missing.clone()
    }
}

impl HttpClient {
    /// A client of whatever `url` names, with `more` set. The certificates of `ca_file`, PEM, are trusted beside the
    /// system's; an empty file takes back all trust but in those.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or with the system's authorities.
    pub(crate) fn new(
        url: &Url,
        ca_file: Option<&Path>,
        more: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, String> {
        let (certificates, missing) = match ca_file {
            None => (Vec::new(), None),
            Some(path) => {
                let authorities = pem::authorities(path)?;
                let missing = what_is_wrong(path, &pem::NO_CERTIFICATE);
                let missing = authorities.is_empty().then_some(missing);
                (authorities, missing)
            }
        };
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            // A redirected request would carry its credentials elsewhere.
            .redirect(Policy::none())
            // What may be sent again is decided where the effect of a call is known.
            .retry(reqwest::retry::never())
            .tcp_nodelay(true);
        if !certificates.is_empty() {
            let certificates = certificates.iter().map(|it| Certificate::from_der(it));
            let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(with_causes)?;
            builder = builder.tls_certs_merge(certificates);
        }
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        let client = more(builder).build().map_err(with_causes)?;
        Ok(Self { client, missing })
    }

    pub(crate) fn get(&self) -> &Client {
        &self.client
    }
}

/// What is wrong with a request or a client, and why, without the URL, which may hold anything.
pub(crate) fn with_causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Whether nobody on the way can read what is exchanged with this URL.
pub(crate) fn is_confidential(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Whether the URL names this machine, where plain http leaves nothing on a wire.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
