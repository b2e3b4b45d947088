//! Why a TLS handshake with a server failed, in plain words.

use std::error::Error;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::error_chain::find_cause;

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
        match find_cause::<rustls::Error>(error)? {
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
            CertificateError::UnknownIssuer => Some(Self::Untrusted),
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
