//! The system's table of TCP connections, where there is one to read: on Linux.

use std::{
    collections::HashSet,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) ours: SocketAddr,
    pub(super) theirs: SocketAddr,
}

/// The tables for IPv4 and IPv6.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The state of a connection that neither side has closed.
const ESTABLISHED: &str = "01";

/// Whether the system has such a table. To read it takes milliseconds where it is large.
pub(super) fn are_shown() -> bool {
    TABLES.iter().any(|path| File::open(path).is_ok())
}

/// Returns those of the `wanted` connections that are established, or `None` if the system has no
/// table of them.
pub(super) fn established(wanted: &HashSet<Ends>) -> Option<HashSet<Ends>> {
    let tables: Vec<_> = TABLES.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    (!tables.is_empty()).then(|| lines.filter_map(ends).filter(|it| wanted.contains(it)).collect())
}

/// Reads a line: a number, our end, the other end, the state, and more.
fn ends(line: &str) -> Option<Ends> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (ours, theirs, state) = (columns.next()?, columns.next()?, columns.next()?);
    (state == ESTABLISHED).then_some(())?;
    Some(Ends { ours: address(ours)?, theirs: address(theirs)? })
}

/// Reads an address and its port, both in hexadecimal. The address is shown as words of 32 bits in
/// the byte order of the machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (index, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(8 * index)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_established_connections_are_read_and_nothing_else_is_an_error() {
        let line = |ours: &str, state| format!("  12: {ours} 0200007F:01BB {state} 00000000:0000");
        let v4 = u32::from_ne_bytes([127, 0, 0, 1]);
        let v4 = format!("{v4:08X}:1F90");

        assert_eq!(ends(&line(&v4, "01")).unwrap().ours, "127.0.0.1:8080".parse().unwrap());
        for bad in [line(&v4, "0A"), line("7F:1", "01"), line("", "01"), String::new()] {
            assert_eq!(ends(&bad), None, "{bad}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_connection_is_found_and_a_closed_one_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let ends =
                Ends { ours: stream.local_addr().unwrap(), theirs: stream.peer_addr().unwrap() };
            let is_open = || established(&HashSet::from([ends])).unwrap().contains(&ends);

            assert!(is_open(), "{ends:?}");
            drop((stream, accepted));
            assert!(!is_open(), "{ends:?}");
        }
    }
}
