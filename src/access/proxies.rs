//! The proxies whose word on their callers is taken, by the addresses that they connect from.
//!
//! A network covers addresses of its own family alone: `0.0.0.0/0` every IPv4 address, `::/0` every IPv6 address. An
//! IPv4 address is one however it is spelled: a peer that a socket of both families shows as `::ffff:10.0.0.1` is
//! `10.0.0.1`, and so is that spelling in the list.

use std::{net::IpAddr, sync::Arc};

use ipnet::{IpNet, Ipv4Net};

/// The bits of `::ffff:0:0/96`, in which IPv4 addresses are mapped.
const MAPPED: u8 = 96;

/// Addresses and networks of proxies. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// These, in whatever spelling.
    ///
    /// # Errors
    ///
    /// Which of them is no network of one family.
    pub(super) fn new(networks: &[IpNet]) -> Result<Self, String> {
        networks.iter().map(|network| unmapped(*network)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this is the address of one.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether none is listed.
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// An address, or a network as in `10.0.0.0/8`.
///
/// # Errors
///
/// When it is neither.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network
        .map_err(|_| format!("{text:?} is neither an address nor a network like 10.0.0.0/8"))?;
    unmapped(network)
}

/// The network of IPv4 addresses that is spelled as one of IPv6; any other as it is.
fn unmapped(network: IpNet) -> Result<IpNet, String> {
    let IpNet::V6(v6) = network else { return Ok(network) };
    let Some(address) = v6.addr().to_ipv4_mapped() else { return Ok(network) };
    let mapped = v6.prefix_len().checked_sub(MAPPED);
    match mapped.and_then(|length| Ipv4Net::new(address, length).ok()) {
        Some(v4) => Ok(v4.into()),
        None => Err(format!(
            "{v6} has IPv4 addresses and others; write {address} with the prefix of an IPv4 network"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_covers_its_own_family_and_an_ipv4_address_is_one_however_it_is_spelled() {
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
            // What was IPv4-compatible is deprecated, and another address.
            ("::10.0.0.1", "10.0.0.1", false),
        ] {
            let given = listed.parse().or_else(|_| listed.parse::<IpAddr>().map(IpNet::from));
            for network in [network(listed).unwrap(), given.unwrap()] {
                let proxies = Proxies::new(&[network]).unwrap();

                assert_eq!(
                    proxies.contain(address.parse().unwrap()),
                    expected,
                    "{listed}, {address}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_network_of_one_family_is_refused() {
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
