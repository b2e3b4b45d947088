//! Whose certificates are good for Redis: those of the system's authorities, and of the ones in a file.

use std::{fs, path::Path};

use data_encoding::BASE64;
use redis::TlsCertificates;

use crate::http_client;

/// The authorities in a PEM file, beside the system's.
///
/// # Errors
///
/// What is wrong with the file.
pub(super) fn read(path: &Path) -> Result<TlsCertificates, String> {
    check_ca_file(path)?;
    let mut pem = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // The client takes these in place of the system's, and as text.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let is_authority = rustls::RootCertStore::empty().add(certificate.clone()).is_ok();
        if is_authority {
            let text = BASE64.encode(&certificate);
            pem.extend_from_slice(b"\n-----BEGIN CERTIFICATE-----\n");
            for line in text.as_bytes().chunks(64) {
                pem.extend_from_slice(line);
                pem.push(b'\n');
            }
            pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
        }
    }
    Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
}

/// Whether a file holds authorities.
///
/// # Errors
///
/// What is wrong with the file.
pub fn check_ca_file(path: &Path) -> Result<(), String> {
    http_client::authorities(path).map(drop)
}
