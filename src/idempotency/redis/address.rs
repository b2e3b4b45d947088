//! The URL of Redis: of one server, of Sentinels, or of a cluster.
//!
//! A URL may contain passwords, so no error quotes it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use redis::{ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Url, form_urlencoded};

const SENTINEL_PORT: u16 = 26379;
/// The parameters for the account at the Sentinels, which is not that at the primary.
const SENTINEL_USERNAME: &str = "sentinel_username";
const SENTINEL_PASSWORD: &str = "sentinel_password";

/// A parsed URL of Redis.
#[derive(Clone)]
pub(super) enum Address {
    /// One server, or a proxy or DNS name in front of several.
    Server(ConnectionInfo),
    /// The primary that the Sentinels name.
    Sentinel { sentinels: Vec<ConnectionInfo>, primary: String, settings: RedisConnectionInfo },
    /// Nodes of a cluster; they name the others.
    Cluster(Vec<ConnectionInfo>),
}

impl Address {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// A description of what is wrong with the URL, without quoting it.
    pub(super) fn new(url: &SecretString) -> Result<Self, &'static str> {
        let parts = Parts::of(url.expose_secret())?;
        match parts.kind {
            Kind::Server => parts.server(url.expose_secret()),
            Kind::Sentinel => parts.sentinel(),
            Kind::Cluster => parts.cluster(),
        }
    }
}

/// Checks that `url` is a URL of Redis.
///
/// # Errors
///
/// A description of what is wrong with the URL, without quoting it.
pub fn check_url(url: &SecretString) -> Result<(), &'static str> {
    Address::new(url).map(drop)
}

/// Whether `url`, which must have been checked, demands TLS.
pub fn is_tls(url: &SecretString) -> bool {
    Parts::of(url.expose_secret()).is_ok_and(|parts| parts.is_tls)
}

/// Returns `url`, which must have been checked, without its credentials.
pub fn without_credentials(url: &SecretString) -> String {
    let url = url.expose_secret();
    let Ok(parts) = Parts::of(url) else { return String::new() };
    let Parts { scheme, hosts, path, .. } = parts;
    let mut shown = format!("{scheme}://{hosts}{path}");
    match parts.kind {
        Kind::Server => shown.extend(parts.query.map(|query| format!("?{query}"))),
        // Their queries contain credentials only.
        Kind::Sentinel | Kind::Cluster => {}
    }
    if parts.user.is_some() || (parts.kind != Kind::Server && parts.query.is_some()) {
        shown += " (credentials not shown)";
    }
    shown
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Server,
    Sentinel,
    Cluster,
}

/// The parts of `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/PATH][?QUERY]`. It may name
/// several hosts, which a standard URL cannot.
struct Parts<'a> {
    kind: Kind,
    is_tls: bool,
    scheme: &'a str,
    /// With the `@`.
    user: Option<&'a str>,
    hosts: &'a str,
    /// With the `/`, or empty.
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("is not a URL")?;
        let (kind, is_tls) = match scheme {
            "redis" => (Kind::Server, false),
            "rediss" => (Kind::Server, true),
            "redis+sentinel" => (Kind::Sentinel, false),
            "rediss+sentinel" => (Kind::Sentinel, true),
            "redis+cluster" => (Kind::Cluster, false),
            "rediss+cluster" => (Kind::Cluster, true),
            _ => {
                return Err("must begin with redis://, redis+sentinel:// or redis+cluster://, or \
                            the same with rediss for TLS");
            }
        };
        // The client would honour #insecure and not verify certificates.
        if rest.contains('#') {
            return Err("must not have a fragment");
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, hosts) = match authority.rfind('@') {
            Some(at) => (Some(&authority[..=at]), &authority[at + 1..]),
            None => (None, authority),
        };
        Ok(Self { kind, is_tls, scheme, user, hosts, path, query })
    }

    fn server(&self, url: &str) -> Result<Address, &'static str> {
        if self.hosts.contains(',') {
            return Err("must name one host, or begin with redis+sentinel:// or redis+cluster://");
        }
        // The client would silently ignore any other, a password included.
        let query = form_urlencoded::parse(self.query.unwrap_or_default().as_bytes());
        if query.into_iter().any(|(name, _)| name != "protocol") {
            return Err("must have no parameter but protocol");
        }
        let info = url.into_connection_info().map_err(
            |_| "is not redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or the same with rediss",
        )?;
        Ok(Address::Server(info))
    }

    fn sentinel(&self) -> Result<Address, &'static str> {
        const FORM: &str = "is not redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/PRIMARY[/DATABASE]\
                            [?sentinel_username=…&sentinel_password=…], or the same with rediss";
        let (primary, database) = match self.path.strip_prefix('/').ok_or(FORM)?.split_once('/') {
            Some((primary, database)) => (primary, database),
            None => (&self.path[1..], ""),
        };
        let primary = percent_decode_str(primary).decode_utf8().map_err(|_| FORM)?;
        if primary.is_empty() {
            return Err(FORM);
        }
        let settings = self.node("localhost", database).ok_or(FORM)?.redis_settings().clone();
        let account = account(self.query.unwrap_or_default()).ok_or(FORM)?;
        let sentinels = self.hosts.split(',').map(|host| {
            let with_port = match has_port(host)? {
                true => Cow::Borrowed(host),
                false => Cow::Owned(format!("{host}:{SENTINEL_PORT}")),
            };
            Some(self.node(&with_port, "")?.set_redis_settings(account.clone()))
        });
        let sentinels = sentinels.collect::<Option<_>>().ok_or(FORM)?;
        Ok(Address::Sentinel { sentinels, primary: primary.into_owned(), settings })
    }

    fn cluster(&self) -> Result<Address, &'static str> {
        const FORM: &str = "is not redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…], or the same with \
                            rediss";
        // A cluster has one database only.
        if !matches!(self.path, "" | "/" | "/0") || self.query.is_some() {
            return Err(FORM);
        }
        let nodes = self.hosts.split(',').map(|host| self.node(host, ""));
        nodes.collect::<Option<_>>().map(Address::Cluster).ok_or(FORM)
    }

    /// One of the hosts, with the account that the URL has for all of them.
    fn node(&self, host: &str, database: &str) -> Option<ConnectionInfo> {
        has_port(host)?;
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let user = self.user.unwrap_or_default();
        let url = format!("{scheme}://{user}{host}/{database}");
        url.into_connection_info().ok()
    }
}

/// Whether `host` has a port. `None` if it is not a host.
fn has_port(host: &str) -> Option<bool> {
    let url = Url::parse(&format!("redis://{host}")).ok()?;
    let is_host = url.host().is_some() && url.username().is_empty() && url.password().is_none();
    is_host.then(|| url.port().is_some())
}

/// The account at the Sentinels. `None` if the query has other parameters.
fn account(query: &str) -> Option<RedisConnectionInfo> {
    let mut account = RedisConnectionInfo::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        account = match &*name {
            SENTINEL_USERNAME => account.set_username(value),
            SENTINEL_PASSWORD => account.set_password(value),
            _ => return None,
        };
    }
    Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<Address, &'static str> {
        Address::new(&SecretString::from(url))
    }

    fn hosts(nodes: &[ConnectionInfo]) -> Vec<String> {
        nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    #[test]
    fn sentinels_have_accounts_of_their_own_beside_that_of_the_primary() {
        let url = "rediss+sentinel://me:p%40ss@one,two:5000,[::1]/my%20primary/3\
                   ?sentinel_username=watch&sentinel_password=w%26rd";
        let Ok(Address::Sentinel { sentinels, primary, settings }) = address(url) else {
            panic!("it is one with Sentinels");
        };

        assert_eq!(primary, "my primary");
        assert_eq!(settings.username(), Some("me"));
        assert_eq!(settings.password(), Some("p@ss"));
        assert_eq!(settings.db(), 3);
        assert_eq!(hosts(&sentinels), ["one:26379", "two:5000", "::1:26379"]);
        for sentinel in &sentinels {
            assert_eq!(sentinel.redis_settings().username(), Some("watch"));
            assert_eq!(sentinel.redis_settings().password(), Some("w&rd"));
            assert_eq!(sentinel.redis_settings().db(), 0);
            assert!(matches!(
                sentinel.addr(),
                redis::ConnectionAddr::TcpTls { insecure: false, .. }
            ));
        }
    }

    #[test]
    fn without_one_of_their_own_sentinels_are_shown_no_account() {
        let Ok(Address::Sentinel { sentinels, settings, .. }) =
            address("redis+sentinel://:pass-word@one/primary")
        else {
            panic!("it is one with Sentinels");
        };

        assert_eq!(settings.password(), Some("pass-word"));
        assert_eq!(sentinels[0].redis_settings().password(), None);
    }

    #[test]
    fn the_nodes_of_a_cluster_share_an_account() {
        let Ok(Address::Cluster(nodes)) = address("redis+cluster://me:pass-word@one:7000,two")
        else {
            panic!("it is a cluster");
        };

        assert_eq!(hosts(&nodes), ["one:7000", "two:6379"]);
        for node in nodes {
            assert_eq!(node.redis_settings().username(), Some("me"));
            assert_eq!(node.redis_settings().password(), Some("pass-word"));
        }
    }

    #[test]
    fn an_invalid_url_is_refused_and_not_quoted() {
        for url in [
            "redis+sentinel://pass-word",
            "redis+sentinel://pass-word/",
            "redis+sentinel://one,/primary",
            "redis+sentinel://one:port/primary",
            "redis+sentinel://one@pass-word@two/primary/first",
            "redis+sentinel://one/primary/first",
            "redis+sentinel://one/primary?password=pass-word",
            "redis+sentinel:///primary",
            "redis+cluster://",
            "redis+cluster://one,,two",
            "redis+cluster://:pass-word@one/1",
            "redis+cluster://:pass-word@one/#insecure",
            "redis+cluster://:pass-word@one?protocol=resp3",
            "redis-sentinel://:pass-word@one#primary",
            "redis://one,two",
        ] {
            let Err(problem) = address(url) else { panic!("{url} is one") };

            assert!(!problem.contains("pass-word"), "{problem}");
        }
    }
}
