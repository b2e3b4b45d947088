//! What the façade that `dev` serves will let its client do.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use super::listen::reachable;
use crate::{
    access::{self, Access, Caller, Refusal},
    address::Address,
    config::ClientConfig,
    connection::{
        Peer, PeerAddr,
        tls::{ClientCertificate, Tls},
    },
    files::Reloaded,
};

/// What a façade that serves checks its callers with.
pub(super) struct Checks {
    pub(super) access: Access,
    pub(super) tls: Option<Reloaded<Tls>>,
}

/// What a client may do whom the façade lets in.
pub(super) struct Permissions {
    /// Who may call what. One who may call everything stands for a caller who is not known yet.
    pub(super) caller: Arc<Caller>,
    /// Whether calls need the bearer token.
    pub(super) needs_token: bool,
    /// What to do before the calls, or to know.
    pub(super) note: Option<String>,
}

const EXPORT: &str = "The commands need the token too: export TOTP_FACADE_TOKEN in their shell.";
const NOT_FETCHED: &str =
    "The JWKS is still to be fetched: the façade may refuse the token, or some of the commands.";
const NO_TOKEN: &str = "Callers need a token: export TOTP_FACADE_TOKEN in the shell of the \
                        commands, and in that of dev, whose console calls with it.";

impl Permissions {
    /// Finds what the façade makes of this client, which calls from `addr`.
    ///
    /// # Errors
    ///
    /// What to set, if the façade lets it call nothing.
    pub(super) fn of(
        client: &ClientConfig,
        addr: Option<PeerAddr>,
        settings: &access::Settings,
        checks: &Checks,
    ) -> Result<Self, String> {
        let peer = Peer { addr, certificate: certificate(client, settings, checks)? };
        let token = client.authorization.as_ref();
        let token = token.and_then(|token| HeaderValue::from_bytes(token.as_bytes()).ok());
        let headers: HeaderMap = token.into_iter().map(|it| (AUTHORIZATION, it)).collect();
        let without_token = checks.access.identify(&HeaderMap::new(), &peer);
        match checks.access.identify(&headers, &peer) {
            Ok(caller) => {
                let is_same = |other: Arc<Caller>| other.name() == caller.name();
                let needs_token = !without_token.is_ok_and(is_same);
                Ok(Self { caller, needs_token, note: needs_token.then(|| EXPORT.to_owned()) })
            }
            Err(Refusal::KeysUnavailable) => Ok(Self::unknown(&[EXPORT, NOT_FETCHED])),
            Err(_) if settings.policy.is_none() && takes_tokens(settings) && headers.is_empty() => {
                Ok(Self::unknown(&[NO_TOKEN]))
            }
            Err(refusal) => {
                let is_known = without_token.is_ok();
                Err(missing(client, &peer, settings, checks, &refusal, is_known))
            }
        }
    }

    fn unknown(note: &[&str]) -> Self {
        let note = Some(note.join(" "));
        Self { caller: Arc::new(Caller::unbounded("")), needs_token: true, note }
    }
}

/// Returns where a client on this machine connects to this address from.
pub(super) fn caller_of(address: &Address) -> Option<PeerAddr> {
    match address {
        Address::Unix(_) => user(),
        Address::Tcp(addr) => Some(SocketAddr::new(reachable(addr.ip()), 0).into()),
    }
}

#[cfg(unix)]
fn user() -> Option<PeerAddr> {
    Some(PeerAddr::Unix { uid: rustix::process::geteuid().as_raw(), pid: None })
}

#[cfg(not(unix))]
fn user() -> Option<PeerAddr> {
    None
}

fn takes_tokens(settings: &access::Settings) -> bool {
    settings.tokens.is_some() || settings.jwt.is_some()
}

/// Returns the certificate that the client presents, if the façade asks for one.
fn certificate(
    client: &ClientConfig,
    settings: &access::Settings,
    checks: &Checks,
) -> Result<Option<Arc<ClientCertificate>>, String> {
    let (Some((path, _)), Some(tls), true) =
        (&client.files.certificate, &checks.tls, settings.certificates)
    else {
        return Ok(None);
    };
    let certificate = ClientCertificate::read(path, tls);
    certificate.map(Arc::new).map(Some).ok_or_else(|| {
        format!(
            "The façade refuses the certificate in {}: no authority in \
             TOTP_FACADE_TLS_CLIENT_CA_FILE has issued it, or it is not valid now.",
            path.display()
        )
    })
}

/// Says what a client lacks whom the façade refuses, and whether it is known without its token.
fn missing(
    client: &ClientConfig,
    peer: &Peer,
    settings: &access::Settings,
    checks: &Checks,
    refusal: &Refusal,
    is_known_without_token: bool,
) -> String {
    let why = match refusal {
        Refusal::Unknown(why) => why,
        _ => "it may not call",
    };
    let is_proxy = checks.access.is_proxy(peer);
    // In the order in which the façade identifies a caller.
    let certificate = client.files.certificate.as_ref().filter(|_| peer.certificate.is_some());
    if let Some((path, _)) = certificate.filter(|_| !is_proxy && !is_known_without_token) {
        format!("The façade does not take the certificate in {}: {why}.", path.display())
    } else if takes_tokens(settings) && client.authorization.is_some() {
        format!("The façade does not take TOTP_FACADE_TOKEN: {why}.")
    } else if takes_tokens(settings) {
        let or_certificate = match settings.certificates {
            true => " (or a client certificate: --cert-file FILE and --key-file FILE)",
            false => "",
        };
        format!(
            "Callers need a token{or_certificate}: export TOTP_FACADE_TOKEN in the shell of dev too, \
             which then prints the commands that the policy allows its owner."
        )
    } else if settings.certificates && !is_proxy {
        "Callers need a client certificate: give dev --cert-file FILE and --key-file FILE too."
            .to_owned()
    } else if let Some(PeerAddr::Unix { uid, .. }) = peer.addr.filter(|_| settings.users) {
        format!("The policy has no caller with the identity \"unix:{uid}\", which is yours.")
    } else {
        "Callers are known by the certificates that a proxy forwards (TOTP_FACADE_TRUST_XFCC_FROM): \
         call through that proxy."
            .to_owned()
    }
}
