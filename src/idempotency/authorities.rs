//! Whose certificates are good for Redis: those of the system's authorities, and of the ones in a file.

use std::path::Path;

use data_encoding::BASE64;
use redis::TlsCertificates;
use rustls::{RootCertStore, pki_types::CertificateDer};

use crate::files::{Content, pem, what_is_wrong};

/// What a file of authorities says, with the system's, as the client of Redis takes them.
pub(super) struct Authorities {
    certificates: TlsCertificates,
    /// What the file lacks, if it is empty: then the system's alone are trusted.
    missing: Option<String>,
}

impl Content for Authorities {
    fn missing(&self) -> Option<String> {
        self.missing.clone()
    }
}

impl Authorities {
    /// Those in a PEM file.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let ours = pem::authorities(path)?;
        let missing = ours.is_empty().then(|| what_is_wrong(path, &pem::NO_CERTIFICATE));
        let systems = rustls_native_certs::load_native_certs().certs.into_iter();
        let is_authority =
            |it: &CertificateDer<'static>| RootCertStore::empty().add(it.clone()).is_ok();
        // The client takes these in place of the system's, and as text.
        let pem: String =
            ours.into_iter().chain(systems.filter(is_authority)).map(|it| text(&it)).collect();
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.into()) };
        Ok(Self { certificates, missing })
    }

    pub(super) fn certificates(&self) -> &TlsCertificates {
        &self.certificates
    }
}

fn text(certificate: &[u8]) -> String {
    let base64 = BASE64.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}
