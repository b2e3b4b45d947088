//! The HTTP client for requests to Stytch and for JWKS URLs, with the rules that both share.
//!
//! The client follows no redirect, retries nothing on its own, and reaches loopback hosts directly:
//! a proxy named in the environment (`HTTP_PROXY`) could otherwise respond in their place.
//!
//! Each runtime has connections of its own, so that a runtime that runs on one thread never wakes
//! another one for a request.

mod clients;

use std::{fmt, path::Path, sync::Arc, time::SystemTime};

use clients::{Clients, Lease};
use reqwest::{Client, ClientBuilder, Url, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_platform_verifier::Verifier;

use crate::{
    error_chain::with_causes,
    files::{Content, Expiration, pem, what_is_wrong},
    per_runtime::PerRuntime,
    tls_failure,
};

const USER_AGENT: &str = concat!("totp-facade/", env!("CARGO_PKG_VERSION"));

/// An HTTP client that trusts the system's certificate authorities, and those of a CA file if there
/// is one.
pub(crate) struct HttpClient {
    clients: PerRuntime<Arc<Clients>>,
    build: Box<dyn Fn() -> reqwest::Result<Client> + Send + Sync>,
    /// What the CA file lacks, if it is empty.
    missing: Option<String>,
    /// When the first authority of the CA file expires.
    expires: Option<SystemTime>,
}

impl Content for HttpClient {
    const EMPTY: &'static str = pem::ADDS_NOTHING;

    fn missing(&self) -> Option<String> {
        self.missing.clone()
    }

    fn expirations(&self) -> Vec<Expiration> {
        vec![Expiration { suffix: "", at: self.expires }]
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("missing", &self.missing).finish_non_exhaustive()
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
        more: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let (authorities, missing) = match ca_file {
            None => (Vec::new(), None),
            Some(path) => {
                let authorities = pem::authorities(path)?;
                let missing = what_is_wrong(path, &pem::NO_CERTIFICATE);
                let missing = authorities.is_empty().then_some(missing);
                (authorities, missing)
            }
        };
        let expires = pem::first_expiration(&authorities);
        let is_loopback = is_loopback(url);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| with_causes(&error))?;
        // Only TLS needs the system's authorities, which take milliseconds to read. Without TLS
        // there is no proxy either.
        let mut tls = if url.scheme() == "http" && is_loopback {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority).map_err(|error| with_causes(&error))?;
            }
            config.with_root_certificates(roots).with_no_client_auth()
        } else {
            let verifier = Verifier::new_with_extra_roots(authorities, provider)
                .map_err(|error| with_causes(&error))?;
            let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
            config.with_no_client_auth()
        };
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let build = move || {
            let builder = Client::builder()
                .user_agent(USER_AGENT)
                .tls_backend_preconfigured(tls.clone())
                // A redirect would send the credentials to another host.
                .redirect(Policy::none())
                // Without redirects there is nothing to refer to.
                .referer(false)
                // Retries are decided where the effect of a call is known.
                .retry(reqwest::retry::never())
                .tcp_nodelay(true);
            let builder = if is_loopback { builder.no_proxy() } else { builder };
            more(builder).build()
        };
        // Any other client is built in the same way, so whatever can fail fails here.
        build().map_err(describe)?;
        Ok(Self { clients: PerRuntime::default(), build: Box::new(build), missing, expires })
    }

    /// Returns a reqwest client of this runtime, for one request.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub(crate) fn client(&self) -> Lease<'_> {
        let clients = self.clients.get_or(Arc::default);
        clients.lease(|| (self.build)().expect("a client like the first one"))
    }
}

/// Returns the text of an error and its causes, without the URL, which may contain secrets.
pub(crate) fn describe(error: reqwest::Error) -> String {
    with_causes(&error.without_url())
}

/// The same, with what to do if TLS has failed; `ca_setting` names the authorities to trust.
pub(crate) fn explain(error: reqwest::Error, ca_setting: &str) -> String {
    tls_failure::in_full(&error.without_url(), ca_setting)
}

/// Returns whether nobody on the network can read the traffic with this URL.
pub(crate) fn is_confidential(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Returns whether the host of the URL is a loopback address, which plain HTTP may reach.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
