//! The one way to build an HTTP client, with the rules that hold for every one of them.
//!
//! A redirect is not followed, nothing is retried behind the caller's back, and what is on this machine is reached
//! directly: a proxy of the environment (`HTTP_PROXY`) could otherwise answer in its place.

use std::{fs, path::Path};

use reqwest::{Certificate, ClientBuilder, Url, redirect::Policy};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

const USER_AGENT: &str = concat!("totp-facade/", env!("CARGO_PKG_VERSION"));

/// A client of whatever `url` names. The certificates of `ca_file`, PEM, are trusted beside the system's.
///
/// # Errors
///
/// What is wrong with the file.
pub(crate) fn builder(url: &Url, ca_file: Option<&Path>) -> Result<ClientBuilder, String> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        // A redirected request would carry its credentials elsewhere.
        .redirect(Policy::none())
        // What may be sent again is decided where the effect of a call is known.
        .retry(reqwest::retry::never())
        .tcp_nodelay(true);
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    match ca_file {
        None => Ok(builder),
        Some(path) => Ok(builder.tls_certs_merge(authorities(path)?)),
    }
}

/// The certificates in a PEM file.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let what = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let pem = fs::read(path).map_err(|error| what(&error))?;
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|error| what(&error))?;
        // reqwest reads it only when a client is built.
        RootCertStore::empty().add(der.clone()).map_err(|error| what(&error))?;
        certificates.push(Certificate::from_der(&der).map_err(|error| what(&error))?);
    }
    if certificates.is_empty() {
        return Err(what(&"holds no certificate"));
    }
    Ok(certificates)
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
