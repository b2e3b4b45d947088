//! Who calls, and what callers may do.
//!
//! A caller is known by the credentials that a call presents, and may do what `callers.toml` says.
//! Without that file, every known caller may call everything. Where no kind of credential is set
//! up, everybody is the caller `anonymous`; `serve` allows that on loopback only, unless
//! `--allow-unauthenticated` is set.
//!
//! Every credential that a call presents must be accepted: a bad one is refused, whatever else the
//! call presents.

mod certificate;
mod credential;
pub mod jwt;
mod policy;
mod proxies;
mod refusal;
mod tokens;
mod user;
pub mod xfcc;

use std::{path::PathBuf, sync::Arc};

use http::HeaderMap;

pub use crate::identity::Identity;
use crate::{
    connection::Peer,
    files::Reloaded,
    telemetry::{calls, metrics::Metrics},
};
use certificate::Certificates;
pub use credential::bearer_token;
use credential::{Credential, Identities, Presented};
use jwt::Jwts;
pub use policy::{Caller, Policy, REFLECTION};
pub use proxies::Proxy;
use proxies::{Proxies, Sender};
pub use refusal::Refusal;
use tokens::FileTokens;
pub use tokens::{Tokens, line as token_line};
use user::Users;
use xfcc::ForwardedCertificates;

/// How callers are identified, and what they may do.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file with the names and hashes of bearer tokens.
    pub tokens: Option<PathBuf>,
    /// The file that says what callers may do.
    pub policy: Option<PathBuf>,
    /// Whether client certificates are requested.
    pub certificates: bool,
    /// Which JWTs are accepted.
    pub jwt: Option<jwt::Settings>,
    /// The proxies whose `x-forwarded-client-cert` is trusted.
    pub proxies: Vec<Proxy>,
    /// Whether callers on a Unix domain socket are known by the users that they run as.
    pub users: bool,
}

impl Settings {
    /// Whether callers are identified at all.
    pub fn authenticates(&self) -> bool {
        self.users || self.presents_credentials()
    }

    /// Whether callers are identified by something that they present.
    pub fn presents_credentials(&self) -> bool {
        self.certificates || self.tokens.is_some() || self.jwt.is_some() || !self.proxies.is_empty()
    }
}

/// Kinds of credentials that a call carries in the same place. The first kind that accepts the
/// credential identifies the caller; if none does, the refusal of the last kind counts.
type Alternatives = Vec<Box<dyn Credential>>;

/// Sets up the kinds of credentials, one line each. A row holds alternatives; a caller who presents
/// credentials of several rows is identified by the first of these.
fn credentials(settings: &Settings, metrics: &Metrics) -> Result<Vec<Alternatives>, String> {
    let Settings { tokens, policy: _, certificates, jwt, proxies, users } = settings;
    let rows = [
        vec![boxed(certificates.then_some(Certificates))],
        vec![boxed((!proxies.is_empty()).then_some(ForwardedCertificates))],
        vec![
            boxed(tokens.as_ref().map(|path| FileTokens::new(path, metrics)).transpose()?),
            boxed(jwt.as_ref().map(|jwt| Jwts::new(jwt, metrics)).transpose()?),
        ],
        // What every connection has comes last.
        vec![boxed(users.then_some(Users))],
    ];
    Ok(rows.map(|row| row.into_iter().flatten().collect()).into())
}

fn boxed(kind: Option<impl Credential + 'static>) -> Option<Box<dyn Credential>> {
    kind.map(|kind| Box::new(kind) as Box<dyn Credential>)
}

/// Decides who may call. Clones share its state.
#[derive(Clone, Debug)]
pub struct Access {
    authenticates: bool,
    credentials: Arc<[Alternatives]>,
    proxies: Proxies,
    policy: Option<Reloaded<Policy>>,
    anonymous: Arc<Caller>,
}

impl Access {
    /// Lets everybody call everything.
    pub fn open() -> Self {
        Self {
            authenticates: false,
            credentials: Arc::new([]),
            proxies: Proxies::default(),
            policy: None,
            anonymous: Arc::new(Caller::unbounded("anonymous")),
        }
    }

    /// Loads the files in `settings`, now and when they change. Needs a runtime.
    ///
    /// # Errors
    ///
    /// What is wrong with a setting or a file.
    pub fn new(settings: &Settings, metrics: &Metrics) -> Result<Self, String> {
        let policy = settings.policy.clone().map(|path| {
            let paths = vec![path.clone()];
            let (load, metrics) = (metrics.clone(), metrics);
            Reloaded::from_files(metrics, "policy", paths, move || {
                Policy::load(&path).inspect(|policy| policy.count(&load.calls))
            })
        });
        let open = Self::open();
        open.anonymous.count(&metrics.calls);
        Ok(Self {
            authenticates: settings.authenticates(),
            credentials: credentials(settings, metrics)?.into(),
            proxies: Proxies::new(&settings.proxies)?,
            policy: policy.transpose()?,
            ..open
        })
    }

    /// Returns the caller. What it may call is for [`Caller::authorize`] to say.
    ///
    /// # Errors
    ///
    /// Why the caller is not known.
    pub fn identify(&self, headers: &HeaderMap, peer: &Peer) -> Result<Arc<Caller>, Refusal> {
        if !self.authenticates {
            calls::identify(&self.anonymous);
            return Ok(Arc::clone(&self.anonymous));
        }
        let identities = self.identities(headers, peer)?;
        let caller = match &self.policy {
            Some(policy) => policy.borrow().caller(&identities),
            None => identities.first().map(|it| Arc::new(Caller::unbounded(it.as_str()))),
        };
        let caller = caller.ok_or(Refusal::Unknown("no caller has this identity"))?;
        calls::identify(&caller);
        Ok(caller)
    }

    /// Returns the names by which the caller is known, once every presented credential is accepted.
    fn identities(&self, headers: &HeaderMap, peer: &Peer) -> Result<Identities, Refusal> {
        let presented = Presented::new(headers, peer, self.proxies.sender(peer.addr));
        let mut identities = None;
        for alternatives in &*self.credentials {
            let accepted = first_accepted(alternatives, &presented)?;
            identities = identities.or(accepted);
        }
        // A malformed header is refused even where no kind of bearer token is set up.
        presented.bearer?;
        identities.ok_or(Refusal::Unknown("neither a client certificate nor a token"))
    }

    /// Whether the peer is a trusted proxy, on whose connection there are many callers.
    pub fn is_proxy(&self, peer: &Peer) -> bool {
        self.proxies.sender(peer.addr) == Sender::Proxy
    }
}

/// Returns the identities that the first kind accepts, `None` if no such credential is presented,
/// or the refusal of the last kind.
fn first_accepted(
    kinds: &[Box<dyn Credential>],
    presented: &Presented<'_>,
) -> Result<Option<Identities>, Refusal> {
    let mut outcome = Ok(None);
    for kind in kinds {
        outcome = kind.identities(presented);
        if let Ok(Some(_)) = outcome {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::PeerAddr;

    #[test]
    fn every_credential_must_be_accepted_and_a_token_counts_only_where_tokens_are_set_up() {
        let proxies = vec!["10.0.0.1/32".parse().unwrap()];
        let settings = Settings { proxies, ..Default::default() };
        let access = Access::new(&settings, &Metrics::default()).unwrap();
        let forwarded = Some("URI=spiffe://a");
        for (addr, forwarded, authorization, expected) in [
            (Some("10.0.0.1:1"), forwarded, None, Ok("spiffe://a")),
            (Some("10.0.0.1:1"), forwarded, Some("Bearer any"), Ok("spiffe://a")),
            (Some("10.0.0.1:1"), forwarded, Some("Basic any"), Err("holds no bearer token")),
            (Some("10.0.0.1:1"), Some("URI"), Some("Basic any"), Err("is malformed")),
            (Some("10.0.0.1:1"), None, Some("Bearer any"), Err("neither a client certificate")),
            (Some("10.0.0.2:1"), forwarded, None, Err("neither a client certificate")),
            (None, forwarded, None, Err("neither a client certificate")),
        ] {
            let addr = addr.map(|it| PeerAddr::Ip(it.parse().unwrap()));
            let peer = Peer { addr, certificate: None };
            let mut headers = HeaderMap::new();
            for (name, value) in
                [("x-forwarded-client-cert", forwarded), ("authorization", authorization)]
            {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }

            let caller = access.identify(&headers, &peer);

            match (caller, expected) {
                (Ok(caller), Ok(name)) => assert_eq!(caller.name(), name),
                (Err(Refusal::Unknown(why)), Err(part)) => assert!(why.contains(part), "{why}"),
                (caller, expected) => panic!("{caller:?} is not {expected:?}"),
            }
        }
    }
}
