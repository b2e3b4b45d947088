//! The HTTP client for requests to Stytch and for JWKS URLs, with the rules that both share.
//!
//! The client follows no redirect, retries nothing on its own, and reaches loopback hosts directly:
//! a proxy named in the environment (`HTTP_PROXY`) could otherwise respond in their place.

use std::path::Path;

use reqwest::{Certificate, Client, ClientBuilder, Url, redirect::Policy};

use crate::{
    error_chain::with_causes,
    files::{Content, pem, what_is_wrong},
};

const USER_AGENT: &str = concat!("totp-facade/", env!("CARGO_PKG_VERSION"));

/// An HTTP client that trusts the system's certificate authorities, and those of a CA file if there
/// is one.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: Client,
    /// What the CA file lacks, if it is empty.
    missing: Option<String>,
}

impl Content for HttpClient {
    fn missing(&self) -> Option<String> {
        self.missing.clone()
    }
}

impl HttpClient {
    /// Builds a client for the host of `url`; `more` may set further options. The client trusts the
    /// certificates of `ca_file` (PEM) in addition to the system's. An empty file adds none.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the CA file or the system's certificate store.
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
            // A redirect would send the credentials to another host.
            .redirect(Policy::none())
            // Retries are decided where the effect of a call is known.
            .retry(reqwest::retry::never())
            .tcp_nodelay(true);
        if !certificates.is_empty() {
            let certificates = certificates.iter().map(|it| Certificate::from_der(it));
            let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(describe)?;
            builder = builder.tls_certs_merge(certificates);
        }
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        let client = more(builder).build().map_err(describe)?;
        Ok(Self { client, missing })
    }

    /// Returns the reqwest client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Returns the text of an error and its causes, without the URL, which may contain secrets.
pub(crate) fn describe(error: reqwest::Error) -> String {
    with_causes(&error.without_url())
}

/// Returns whether nobody on the network can read the traffic with this URL.
pub(crate) fn is_confidential(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Returns whether the host of the URL is a loopback address, which plain HTTP may reach.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
