//! The proxies whose `x-forwarded-client-cert` is trusted, by the addresses that they connect from.
//!
//! A network covers only addresses of its own family: `0.0.0.0/0` every IPv4 address, `::/0` every
//! IPv6 address. An IPv4 address is the same in either spelling, in the list and of a peer: a
//! dual-stack socket shows `10.0.0.1` as `::ffff:10.0.0.1`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net};

/// The prefix length of `::ffff:0:0/96`, into which IPv4 addresses are mapped.
const MAPPED_PREFIX: u8 = 96;

/// The addresses and networks of trusted proxies. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Arc<[IpNet]>);

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
    /// Trusts these networks; IPv4 networks may be spelled as mapped into IPv6.
    ///
    /// # Errors
    ///
    /// A network covers addresses of both families.
    pub(super) fn new(networks: &[IpNet]) -> Result<Self, String> {
        networks.iter().map(|network| unmapped(*network)).collect::<Result<_, _>>().map(Self)
    }

    /// Returns who sends the calls of a connection from this address.
    pub(super) fn sender(&self, addr: Option<SocketAddr>) -> Sender {
        match addr {
            Some(addr) if self.contains(addr.ip()) => Sender::Proxy,
            None if !self.0.is_empty() => Sender::Unknown,
            _ => Sender::Caller,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Parses an address, or a network such as `10.0.0.0/8`.
///
/// # Errors
///
/// The text is neither, or the network covers addresses of both families.
pub fn network(text: &str) -> Result<IpNet, String> {
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
                let proxies = Proxies::new(&[network]).unwrap();

                assert_eq!(
                    proxies.contains(address.parse().unwrap()),
                    expected,
                    "{listed}, {address}"
                );
            }
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
        let mixed = "::ffff:0:0/95".parse().unwrap();
        assert!(Proxies::new(&[mixed]).is_err());
    }
}
