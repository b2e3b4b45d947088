//! Client certificates, which the TLS handshake has verified.

use std::sync::Arc;

use super::{
    credential::{Credential, Identities, Presented},
    proxies::Sender,
    refusal::Refusal,
};

/// Identifies callers by the client certificates of their connections.
#[derive(Debug)]
pub(super) struct Certificates;

impl Credential for Certificates {
    fn identities(&self, presented: &Presented<'_>) -> Result<Option<Identities>, Refusal> {
        let Some(certificate) = &presented.peer.certificate else { return Ok(None) };
        // It may have expired, or its authority may have been removed, since the handshake.
        if !certificate.is_trusted() {
            return Err(Refusal::Unknown("the client certificate is no longer trusted"));
        }
        Ok(match presented.sender {
            Sender::Caller => Some(Arc::clone(certificate.identities())),
            // A proxy's certificate identifies none of the callers behind it.
            Sender::Proxy | Sender::Unknown => None,
        })
    }
}
