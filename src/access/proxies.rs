//! The proxies whose `x-forwarded-client-cert` is trusted, by the addresses that they connect from,
//! or on a Unix domain socket by the users that they run as.
//!
//! A network covers only addresses of its own family: `0.0.0.0/0` every IPv4 address, `::/0` every
//! IPv6 address. An IPv4 address is the same in either spelling, in the list and of a peer: a
//! dual-stack socket shows `10.0.0.1` as `::ffff:10.0.0.1`.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use ipnet::{IpNet, Ipv4Net};

use crate::{connection::PeerAddr, identity};

/// The prefix length of `::ffff:0:0/96`, into which IPv4 addresses are mapped.
const MAPPED_PREFIX: u8 = 96;

/// The prefix of a user in the list.
const USER: &str = "unix:";

/// A trusted proxy, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Those of a network.
    Network(IpNet),
    /// Those that run as this user and connect by a Unix domain socket.
    User(u32),
}

/// The trusted proxies. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Arc<[Proxy]>);

/// Who sends the calls of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// One caller, who owns the client certificate of the connection.
    Caller,
    /// A trusted proxy, on behalf of many callers.
    Proxy,
    /// Either of them: the address of the peer is unknown.
    Unknown,
}

impl Proxies {
    /// Trusts these; IPv4 networks may be spelled as mapped into IPv6.
    ///
    /// # Errors
    ///
    /// A network covers addresses of both families.
    pub(super) fn new(proxies: &[Proxy]) -> Result<Self, String> {
        let canonical = |proxy: &Proxy| match *proxy {
            Proxy::Network(network) => unmapped(network).map(Proxy::Network),
            Proxy::User(uid) => Ok(Proxy::User(uid)),
        };
        proxies.iter().map(canonical).collect::<Result<_, _>>().map(Self)
    }

    /// Returns who sends the calls of a connection from this address.
    pub(super) fn sender(&self, addr: Option<PeerAddr>) -> Sender {
        match addr {
            Some(addr) if self.contains(addr) => Sender::Proxy,
            None if !self.0.is_empty() => Sender::Unknown,
            _ => Sender::Caller,
        }
    }

    fn contains(&self, addr: PeerAddr) -> bool {
        self.0.iter().any(|proxy| match (proxy, addr) {
            (Proxy::Network(network), PeerAddr::Ip(addr)) => {
                network.contains(&addr.ip().to_canonical())
            }
            (Proxy::User(user), PeerAddr::Unix { uid, .. }) => *user == uid,
            _ => false,
        })
    }
}

/// An address, a network such as `10.0.0.0/8`, or `unix:UID`.
impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(USER) {
            None => network(text).map(Self::Network),
            Some(uid) => identity::user(uid).map(Self::User).ok_or_else(|| {
                format!("{text:?} is not {USER}UID with the number of a user of this namespace")
            }),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::User(uid) => write!(f, "{USER}{uid}"),
        }
    }
}

/// Parses an address, or a network such as `10.0.0.0/8`.
///
/// # Errors
///
/// The text is neither, or the network covers addresses of both families.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network
        .map_err(|_| format!("{text:?} is neither an address nor a network like 10.0.0.0/8"))?;
    unmapped(network)
}

/// Returns the IPv4 network that is spelled as an IPv6 network, and any other network as it is.
fn unmapped(network: IpNet) -> Result<IpNet, String> {
    let IpNet::V6(v6) = network else { return Ok(network) };
    let Some(address) = v6.addr().to_ipv4_mapped() else { return Ok(network) };
    let mapped = v6.prefix_len().checked_sub(MAPPED_PREFIX);
    match mapped.and_then(|length| Ipv4Net::new(address, length).ok()) {
        Some(v4) => Ok(v4.into()),
        None => Err(format!(
            "{v6} covers IPv4 and other addresses; write {address} with the prefix of an IPv4 network"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_network_covers_its_own_family_and_ipv4_addresses_in_either_spelling() {
        for (listed, address, expected) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:a01:203", true),
            ("::ffff:10.0.0.0/104", "11.0.0.1", false),
            ("::ffff:0.0.0.0/96", "192.0.2.1", true),
            ("::ffff:0.0.0.0/96", "2001:db8::1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::ffff:192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("::/0", "::ffff:192.0.2.1", false),
            ("2001:db8::/32", "2001:db8::1", true),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
            // IPv4-compatible addresses are deprecated and do not count as IPv4.
            ("::10.0.0.1", "10.0.0.1", false),
        ] {
            let given = listed.parse().or_else(|_| listed.parse::<IpAddr>().map(IpNet::from));
            for network in [network(listed).unwrap(), given.unwrap()] {
                let proxies = Proxies::new(&[Proxy::Network(network)]).unwrap();
                let addr = SocketAddr::new(address.parse().unwrap(), 1);

                assert_eq!(proxies.contains(addr.into()), expected, "{listed}, {address}");
            }
        }
    }

    #[test]
    fn a_proxy_on_a_unix_socket_is_known_by_its_user_alone() {
        let proxies = ["unix:1000", "127.0.0.1"].map(|it| it.parse().unwrap());
        let proxies = Proxies::new(&proxies).unwrap();
        for (addr, expected) in [
            (Some(PeerAddr::Unix { uid: 1000, pid: None }), Sender::Proxy),
            (Some(PeerAddr::Unix { uid: 1001, pid: Some(1000) }), Sender::Caller),
            (Some(PeerAddr::Unix { uid: 0, pid: None }), Sender::Caller),
            (Some(PeerAddr::Ip("127.0.0.1:1000".parse().unwrap())), Sender::Proxy),
            (None, Sender::Unknown),
        ] {
            assert_eq!(proxies.sender(addr), expected, "{addr:?}");
        }
    }

    #[test]
    fn a_network_of_two_families_is_refused() {
        for text in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0",
            "::ffff:10.0.0.1/8",
            "::ffff:0:0/95",
            "fe80::1%eth0",
            "10.0.0.1:80",
        ] {
            assert!(network(text).is_err(), "{text}");
        }
        for text in ["unix:", "unix:envoy", "unix:65534", "unix:/run/grpc.sock"] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
        let mixed = "::ffff:0:0/95".parse().unwrap();
        assert!(Proxies::new(&[Proxy::Network(mixed)]).is_err());
    }
}
