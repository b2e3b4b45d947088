//! What the façade that `dev` serves will let its client do.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

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

/// By what a façade that serves knows its callers.
pub(super) struct Served {
    pub(super) access: Access,
    pub(super) tls: Option<Reloaded<Tls>>,
}

/// A client whom the façade lets in.
pub(super) struct Permissions {
    /// Who may call what. One who may call everything stands for a caller who is not known yet.
    pub(super) caller: Arc<Caller>,
    /// Whether calls need the bearer token.
    pub(super) needs_token: bool,
    /// What to do before the calls, or to know.
    pub(super) note: &'static str,
}

const EXPORT: &str = "The commands need the token too: export TOTP_FACADE_TOKEN in their shell.";

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
        served: &Served,
    ) -> Result<Self, String> {
        let certificate = certificate(client, settings, served)?;
        let peer = Peer { addr, certificate };
        let token = client.authorization.as_ref();
        let token = token.and_then(|token| HeaderValue::from_bytes(token.as_bytes()).ok());
        let headers: HeaderMap = token.into_iter().map(|it| (AUTHORIZATION, it)).collect();
        let is_known_without = served.access.identify(&HeaderMap::new(), &peer).is_ok();
        let needs_token = takes_tokens(settings) && !is_known_without;
        match served.access.identify(&headers, &peer) {
            Ok(caller) => {
                let note = if needs_token { EXPORT } else { "" };
                Ok(Self { caller, needs_token, note })
            }
            Err(Refusal::KeysUnavailable) => {
                let note = match settings.policy {
                    None => EXPORT,
                    Some(_) => {
                        "The commands need the token too: export TOTP_FACADE_TOKEN in their shell. \
                         The policy may refuse some of them: whose token it is can be told once the \
                         JWKS is fetched."
                    }
                };
                Ok(Self::unknown(note))
            }
            Err(_) if needs_token && headers.is_empty() && settings.policy.is_none() => {
                Ok(Self::unknown(
                    "Callers need a token: export TOTP_FACADE_TOKEN in the shell of the commands, and \
                     in that of dev, whose console calls with it.",
                ))
            }
            Err(refusal) => Err(missing(client, &peer, settings, refusal)),
        }
    }

    fn unknown(note: &'static str) -> Self {
        Self { caller: Arc::new(Caller::unbounded("")), needs_token: true, note }
    }
}

/// Returns where a client on this machine connects to this address from.
pub(super) fn caller_of(address: &Address) -> Option<PeerAddr> {
    let ip = match address {
        Address::Unix(_) => return user(),
        Address::Tcp(addr) => match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        },
    };
    Some(SocketAddr::new(ip, 0).into())
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
    served: &Served,
) -> Result<Option<Arc<ClientCertificate>>, String> {
    let (Some((path, _)), Some(tls), true) =
        (&client.files.certificate, &served.tls, settings.certificates)
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

/// Says what a client lacks whom the façade does not know.
fn missing(
    client: &ClientConfig,
    peer: &Peer,
    settings: &access::Settings,
    refusal: Refusal,
) -> String {
    let why = match refusal {
        Refusal::Unknown(why) => why,
        _ => "it may not call",
    };
    if takes_tokens(settings) && client.authorization.is_some() {
        format!("The façade does not take TOTP_FACADE_TOKEN: {why}.")
    } else if takes_tokens(settings) {
        "Callers need a token: export TOTP_FACADE_TOKEN in the shell of dev too, which then prints \
         the commands that the policy allows its owner."
            .to_owned()
    } else if let Some((path, _)) =
        client.files.certificate.as_ref().filter(|_| settings.certificates)
    {
        format!("The façade does not take the certificate in {}: {why}.", path.display())
    } else if settings.certificates {
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
