//! The authorities to trust for Redis: the system's, and those in a file.

use std::{path::Path, time::SystemTime};

use data_encoding::BASE64;
use redis::TlsCertificates;
use rustls::{RootCertStore, pki_types::CertificateDer};

use crate::files::{Content, Expiration, pem, what_is_wrong};

/// The authorities in a file together with the system's, in the form that the client of Redis
/// takes.
pub(super) struct Authorities {
    certificates: TlsCertificates,
    /// What an empty file lacks. Only the system's authorities are trusted then.
    missing: Option<String>,
    /// When the first authority of the file expires.
    expires: Option<SystemTime>,
}

impl Content for Authorities {
    const EMPTY: &'static str = pem::ADDS_NOTHING;

    fn missing(&self) -> Option<String> {
        self.missing.clone()
    }

    fn expirations(&self) -> Vec<Expiration> {
        vec![Expiration { suffix: "", at: self.expires }]
    }
}

impl Authorities {
    /// Reads a PEM file and the system's authorities.
    ///
    /// # Errors
    ///
    /// A description of what is wrong with the file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let ours = pem::authorities(path)?;
        let missing = ours.is_empty().then(|| what_is_wrong(path, &pem::NO_CERTIFICATE));
        let expires = pem::first_expiration(&ours);
        let systems = rustls_native_certs::load_native_certs().certs.into_iter();
        let is_authority =
            |it: &CertificateDer<'static>| RootCertStore::empty().add(it.clone()).is_ok();
        // The client takes them as text, and in place of the system's.
        let pem: String =
            ours.into_iter().chain(systems.filter(is_authority)).map(|it| text(&it)).collect();
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.into()) };
        Ok(Self { certificates, missing, expires })
    }

    pub(super) fn certificates(&self) -> &TlsCertificates {
        &self.certificates
    }
}

fn text(certificate: &[u8]) -> String {
    let base64 = BASE64.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}
