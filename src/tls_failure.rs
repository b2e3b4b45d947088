//! Why a TLS handshake with a server failed, in plain words.

use std::{error::Error, sync::Arc};

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

use crate::error_chain::{find_cause, with_causes};

/// Returns the text of an error and its causes. If TLS has failed, it goes on with what to do;
/// `ca_setting` names the authorities to trust.
pub(crate) fn in_full(error: &(dyn Error + 'static), ca_setting: &str) -> String {
    let text = with_causes(error);
    match TlsFailure::of(error) {
        None => text,
        Some(failure) => format!("{text}; {}", failure.explain(ca_setting)),
    }
}

/// A failure that a setting of the client, or another certificate, fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The server answered with something else than TLS.
    NotTls,
    /// No authority that the client trusts has issued the server's certificate.
    Untrusted,
    /// The server's certificate is that of an authority.
    OfAnAuthority,
    /// The server refused the client's certificate.
    ClientRefused(AlertDescription),
}

impl TlsFailure {
    /// Finds the failure among the causes of an error.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        Self::of_tls(find_cause(error)?)
    }

    /// Finds the failure in the text of an error that does not have its causes.
    pub(crate) fn quoted_in(text: &str) -> Option<Self> {
        let of_an_authority = OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        let of_another_kind = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: Vec::new(),
            public_key_algorithm_id: Vec::new(),
        };
        let certificate_errors = [
            CertificateError::UnknownIssuer,
            CertificateError::BadSignature,
            of_another_kind,
            CertificateError::Other(of_an_authority),
        ];
        let not_tls = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        let errors = certificate_errors.into_iter().map(rustls::Error::InvalidCertificate);
        let is_quoted = |error: &rustls::Error| {
            let shown = error.to_string();
            // Its fields follow.
            text.contains(shown.split(" {").next().unwrap_or(&shown))
        };
        errors.chain([not_tls]).find(is_quoted).and_then(|error| Self::of_tls(&error))
    }

    /// Finds the failure in an error of TLS itself.
    pub(crate) fn of_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Some(Self::NotTls),
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            _ => None,
        }
    }

    fn of_alert(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked => Some(Self::ClientRefused(alert)),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Option<Self> {
        match error {
            // The last two are of a trusted authority that has the same name and another key.
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Some(Self::Untrusted)
            }
            CertificateError::Other(error) => match error.0.downcast_ref()? {
                webpki::Error::CaUsedAsEndEntity => Some(Self::OfAnAuthority),
                _ => None,
            },
            _ => None,
        }
    }

    /// Says what is wrong and what to do; `ca_setting` names the authorities to trust.
    pub(crate) fn explain(self, ca_setting: &str) -> String {
        match self {
            Self::ClientRefused(alert) => {
                format!("the server refused the client certificate ({alert:?})")
            }
            Self::NotTls => "the server does not speak TLS on this port".to_owned(),
            Self::Untrusted => format!(
                "no trusted authority has issued the server's certificate: name its authority, or \
                 the certificate itself if it is self-signed, in {ca_setting}"
            ),
            Self::OfAnAuthority => format!(
                "the server presents the certificate of an authority (CA:TRUE) as its own, which TLS \
                 does not allow: let the authority issue one for the server (CA:FALSE), and name the \
                 authority in {ca_setting}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_found_in_the_causes_and_in_their_text() {
        let of_another_kind = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: vec![6, 8],
            public_key_algorithm_id: vec![6, 9],
        };
        let of_an_authority =
            CertificateError::Other(OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity)));
        for (error, expected) in [
            (CertificateError::UnknownIssuer.into(), Some(TlsFailure::Untrusted)),
            (CertificateError::BadSignature.into(), Some(TlsFailure::Untrusted)),
            (of_another_kind.into(), Some(TlsFailure::Untrusted)),
            (of_an_authority.into(), Some(TlsFailure::OfAnAuthority)),
            (InvalidMessage::InvalidContentType.into(), Some(TlsFailure::NotTls)),
            (CertificateError::Expired.into(), None),
        ] {
            let error: rustls::Error = error;
            let text = format!("cannot connect - Io: {error}");

            assert_eq!(TlsFailure::quoted_in(&text), expected, "{text}");
            assert_eq!(TlsFailure::of(&std::io::Error::other(error)), expected, "{text}");
        }
    }
}
