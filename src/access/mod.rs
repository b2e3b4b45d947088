//! Who calls, and what they may do.
//!
//! A caller is known by its client certificate, or else by a bearer token, which may be a JWT. Of those behind a
//! listed proxy, which share its connection, it is known by what the proxy says of them in place of a certificate.
//! What a caller may do is in `callers.toml`; without that file, whoever is known may call everything. Where no way
//! to know callers is set up, everybody is `anonymous`: `serve` allows that on loopback only, unless it is told
//! otherwise.
//!
//! A credential that is presented and not good is refused, whatever else is presented.

mod fetch;
mod jwks;
pub mod jwt;
mod policy;
mod proxies;
mod tokens;
pub mod xfcc;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, header::AUTHORIZATION};
use ipnet::IpNet;

use crate::{
    connection::Peer,
    files::{self, Reloaded, what_is_wrong},
    telemetry::metrics::Metrics,
};
pub use policy::{Caller, Policy};
use proxies::Proxies;
pub use proxies::network;
pub use tokens::{Tokens, line as token_line};

/// The method by which reflection is called in a policy.
pub const REFLECTION: &str = "reflection";

/// Where callers are described.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Names and hashes of bearer tokens.
    pub tokens: Option<PathBuf>,
    /// What callers may do.
    pub policy: Option<PathBuf>,
    /// Whether client certificates are asked for.
    pub certificates: bool,
    /// Whose JWTs are taken.
    pub jwt: Option<jwt::Settings>,
    /// The proxies whose word on certificates is taken.
    pub proxies: Vec<IpNet>,
}

impl Settings {
    /// Whether callers are told apart.
    pub fn authenticates(&self) -> bool {
        self.certificates || self.tokens.is_some() || self.jwt.is_some() || !self.proxies.is_empty()
    }
}

/// Why a call is not served.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows who calls.
    Unknown(&'static str),
    /// Who calls cannot be told yet: the keys of JWTs have not been fetched.
    KeysUnavailable,
    /// The caller may not do this.
    NotAllowed,
    /// The caller may do this, but less often.
    RateLimited(Duration),
}

/// Decides who may call. Clones share it.
#[derive(Clone, Debug)]
pub struct Access {
    authenticates: bool,
    tokens: Option<Reloaded<Tokens>>,
    jwt: Option<Arc<jwt::Verifier>>,
    proxies: Proxies,
    policy: Option<Reloaded<Policy>>,
    anonymous: Arc<Caller>,
}

impl Access {
    /// Everybody may call everything.
    pub fn open() -> Self {
        let anonymous = Arc::new(Caller::unbounded("anonymous"));
        Self {
            authenticates: false,
            tokens: None,
            jwt: None,
            proxies: Proxies::default(),
            policy: None,
            anonymous,
        }
    }

    /// As `settings` say; files are read now, and again when they change. Needs a runtime.
    ///
    /// # Errors
    ///
    /// What is wrong with a setting or a file.
    pub fn new(settings: &Settings, metrics: &Metrics) -> Result<Self, String> {
        let tokens = settings.tokens.clone().map(|path| {
            let paths = vec![path.clone()];
            Reloaded::from_files(metrics, "tokens", paths, move || Tokens::load(&path))
        });
        let policy = settings.policy.clone().map(|path| {
            let paths = vec![path.clone()];
            Reloaded::from_files(metrics, "policy", paths, move || Policy::load(&path))
        });
        let jwt = settings.jwt.as_ref().map(|jwt| jwt::Verifier::new(jwt, metrics));
        Ok(Self {
            authenticates: settings.authenticates(),
            jwt: jwt.transpose()?.map(Arc::new),
            proxies: Proxies::new(&settings.proxies)?,
            tokens: tokens.transpose()?,
            policy: policy.transpose()?,
            ..Self::open()
        })
    }

    /// Who makes the call, if they may call `method`.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub fn caller(
        &self,
        method: &str,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Arc<Caller>, Refusal> {
        if !self.authenticates {
            return Ok(Arc::clone(&self.anonymous));
        }
        let identities = self.identities(headers, peer)?;
        let caller = match &self.policy {
            Some(policy) => policy.get().caller(&identities),
            None => identities.first().map(|name| Arc::new(Caller::unbounded(name))),
        };
        let caller = caller.ok_or(Refusal::Unknown("no caller has this identity"))?;
        if !caller.may_call(method) {
            return Err(Refusal::NotAllowed);
        }
        caller.admit().map_err(Refusal::RateLimited)?;
        Ok(caller)
    }

    /// Every name by which the caller is known. Each credential is looked at, so that a bad one is refused.
    fn identities(&self, headers: &HeaderMap, peer: &Peer) -> Result<Arc<[String]>, Refusal> {
        let certified = self.certified(peer)?;
        let own = match peer.addr {
            // Several callers share a proxy's connection, whose certificate is of none of them.
            Some(_) if self.is_proxy(peer) => {
                xfcc::identities(headers).map_err(Refusal::Unknown)?.map(Arc::from)
            }
            // It may be a proxy's.
            None if !self.proxies.are_none() => None,
            _ => certified,
        };
        let token = match (self.tokens.is_some() || self.jwt.is_some(), bearer(headers)?) {
            (true, Some(token)) => Some(self.bearer_of(token)?),
            _ => None,
        };
        own.or(token).ok_or(Refusal::Unknown("neither a client certificate nor a token"))
    }

    /// Whether the peer is a listed proxy, behind which there are many callers.
    pub fn is_proxy(&self, peer: &Peer) -> bool {
        peer.addr.is_some_and(|addr| self.proxies.contain(addr.ip()))
    }

    /// The names in the certificate of the connection.
    fn certified(&self, peer: &Peer) -> Result<Option<Arc<[String]>>, Refusal> {
        let Some(certificate) = &peer.certificate else { return Ok(None) };
        match certificate.is_trusted() {
            true => Ok(Some(Arc::clone(certificate.names()))),
            false => Err(Refusal::Unknown("the client certificate is no longer trusted")),
        }
    }

    /// Who bears a token, which is one of the file's or else a JWT.
    fn bearer_of(&self, token: &str) -> Result<Arc<[String]>, Refusal> {
        if let Some(bearer) = self.tokens.as_ref().and_then(|tokens| tokens.get().bearer_of(token))
        {
            return Ok(bearer);
        }
        let jwt = self.jwt.as_ref().ok_or(Refusal::Unknown("the token is not known"))?;
        jwt.bearer_of(token)
    }
}

/// What `parse` makes of a file, or what is wrong with it.
fn from_file<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    parse(&files::read(path)?).map_err(|error| what_is_wrong(path, &error))
}

/// The bearer token of a call.
///
/// # Errors
///
/// When there is an authorization that is none.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Unknown("more than one authorization"));
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    token.map(Some).ok_or(Refusal::Unknown("the authorization is no bearer token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_as_it_is_and_anything_else_is_refused() {
        for (values, expected, reason) in [
            (&[][..], Ok(None), "none"),
            (&["Bearer abc"][..], Ok(Some("abc")), "a token"),
            (&["bearer abc"], Ok(Some("abc")), "schemes have no case"),
            (&["Bearer  abc"], Ok(Some(" abc")), "a blank is part of it"),
            (&["Basic abc"], Err(()), "another scheme"),
            (&["abc"], Err(()), "no scheme"),
            (&["Bearer"], Err(()), "no token"),
            (&["Bearer a", "Bearer a"], Err(()), "twice"),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }

            assert_eq!(bearer(&headers).map_err(drop), expected, "{reason}");
        }
    }
}
