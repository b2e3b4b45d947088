//! Certificates and private keys in PEM files.

use std::{
    fmt::Display,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, InconsistentKeys, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error, PemObject as _},
    },
    sign::CertifiedKey,
};

use super::text::{is_blank, read_bytes, what_is_wrong};

/// How PKCS #8 and OpenSSL mark a key that is encrypted with a passphrase.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// Reads the certificates in a file. A blank file has none.
///
/// # Errors
///
/// If the file cannot be read, or holds something other than certificates.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_bytes(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() && !is_blank(&pem) => {
            Err(what_is_wrong(path, &NO_CERTIFICATE))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(what_is_wrong(path, &error)),
    }
}

/// Reads the certificate authorities in a file. A blank file has none.
///
/// # Errors
///
/// If the file cannot be read, or a certificate in it cannot be an authority.
pub(crate) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = certificates(path)?;
    for certificate in &certificates {
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| what_is_wrong(path, &error))?;
    }
    Ok(certificates)
}

/// Returns when a certificate expires, if it can be read.
pub(crate) fn expiration(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Returns when the first of these certificates expires.
pub(crate) fn first_expiration(certificates: &[CertificateDer<'_>]) -> Option<SystemTime> {
    certificates.iter().filter_map(expiration).min()
}

/// Checks that a file holds at least one certificate authority.
///
/// # Errors
///
/// Like [`authorities`], and if the file is blank.
pub(crate) fn check_authorities(path: &Path) -> Result<(), String> {
    match authorities(path)?.is_empty() {
        true => Err(what_is_wrong(path, &NO_CERTIFICATE)),
        false => Ok(()),
    }
}

/// What an empty file does whose authorities are trusted beside the system's.
pub(crate) const ADDS_NOTHING: &str = "adds no authority to those of the system";

/// What is wrong with a file that has no certificate.
pub(crate) const NO_CERTIFICATE: &str = "holds no certificate";

const UNREADABLE_KEY: &str = "holds a private key that cannot be read";

/// Reads the private key in a file.
///
/// # Errors
///
/// If the file cannot be read, or its key is missing or encrypted.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_bytes(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let contains = |mark: &[u8]| pem.windows(mark.len()).any(|part| part == mark);
        if ENCRYPTED.iter().any(|mark| contains(mark)) {
            let what =
                "is encrypted; decrypt it, for instance with `openssl pkey -in FILE -out NEW_FILE`";
            return what_is_wrong(path, &what);
        }
        match error {
            Error::NoItemsFound => what_is_wrong(path, &"holds no private key"),
            // Other errors may quote the key.
            _ => what_is_wrong(path, &UNREADABLE_KEY),
        }
    })
}

/// What is wrong with a certificate chain or its private key: the name of the file, and why.
pub(crate) enum PairError {
    Certificate(String),
    Key(String),
}

impl From<PairError> for String {
    fn from((PairError::Certificate(what) | PairError::Key(what)): PairError) -> Self {
        what
    }
}

/// A certificate chain, and the private key of its first certificate.
pub(crate) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a certificate chain and its private key, and checks that they belong together.
///
/// # Errors
///
/// If a file cannot be read, or TLS cannot use what it holds.
pub(crate) fn pair(certificate: &Path, key: &Path) -> Result<Pair, PairError> {
    let of_certificate =
        |what: &dyn Display| PairError::Certificate(what_is_wrong(certificate, what));
    let of_key = |what: &dyn Display| PairError::Key(what_is_wrong(key, what));
    let chain = certificates(certificate).map_err(PairError::Certificate)?;
    let private = private_key(key).map_err(PairError::Key)?;
    if chain.is_empty() {
        return Err(of_certificate(&NO_CERTIFICATE));
    }
    let signing = default_provider().key_provider.load_private_key(private.clone_key());
    let signing = signing.map_err(|_| of_key(&UNREADABLE_KEY))?;
    match CertifiedKey::new(chain.clone(), signing).keys_match() {
        // The key cannot tell; the TLS library accepts that too.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok((chain, private))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(of_key(&format!("does not belong to the certificate in {}", certificate.display())))
        }
        Err(error) if is_of_version_1(&error) => Err(of_certificate(&VERSION_1)),
        Err(error) => Err(of_certificate(&error)),
    }
}

/// What is wrong with a certificate of X.509 version 1, which has no extensions.
const VERSION_1: &str = "holds a certificate of X.509 version 1; TLS needs one of version 3, with a \
                         subjectAltName (`openssl req -x509 -addext` makes one)";

fn is_of_version_1(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::UnsupportedCertVersion))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BODY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";

    #[test]
    fn problems_with_a_private_key_are_named_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let encrypted = "is encrypted; decrypt it, for instance with";
        for (text, expected) in [
            (
                format!(
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{BODY}\n-----END ENCRYPTED PRIVATE KEY-----"
                ),
                encrypted,
            ),
            (
                format!(
                    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n\
                     {BODY}\n-----END RSA PRIVATE KEY-----"
                ),
                encrypted,
            ),
            (
                format!(
                    "\u{feff}-----BEGIN EC PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\n\
                     {BODY}\r\n-----END EC PRIVATE KEY-----"
                ),
                encrypted,
            ),
            (
                format!("-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----"),
                "holds no private key",
            ),
            (String::new(), "holds no private key"),
            (BODY.to_owned(), "holds no private key"),
            (
                format!("-----BEGIN PRIVATE KEY-----\n{BODY}"),
                "holds a private key that cannot be read",
            ),
            (
                format!("-----BEGIN PRIVATE KEY-----\n{BODY}!\n-----END PRIVATE KEY-----"),
                "holds a private key that cannot be read",
            ),
        ] {
            fs::write(&path, text).unwrap();

            let error = private_key(&path).unwrap_err();

            assert!(error.contains(expected), "{error} is not {expected}");
            assert!(!error.contains("MIGH"), "{error}");
        }
    }

    #[test]
    fn certificates_and_keys_are_read_as_windows_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("certificate"), folder.path().join("key"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let windows = |pem: String| format!("\u{feff}{}", pem.replace('\n', "\r\n"));
        fs::write(&certificate, windows(made.cert.pem())).unwrap();
        fs::write(&key, windows(made.signing_key.serialize_pem())).unwrap();

        assert_eq!(certificates(&certificate).unwrap(), [made.cert.der().clone()]);
        assert_eq!(private_key(&key).unwrap().secret_der(), made.signing_key.serialize_der());
    }

    #[test]
    fn a_blank_file_holds_no_certificate_and_any_other_without_one_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificates");
        for (text, good) in [
            ("", true),
            ("\u{feff}\r\n", true),
            ("# nobody\n", true),
            ("not a certificate", false),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", false),
            ("-----BEGIN CERTIFICATE-----\nAAAA", false),
        ] {
            fs::write(&path, text).unwrap();

            assert_eq!(certificates(&path).is_ok_and(|it| it.is_empty()), good, "{text}");
        }
    }
}
