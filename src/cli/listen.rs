//! The sockets that subcommands listen on, and how they say so.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
};

use tokio::net::{TcpListener, TcpSocket};

use super::{failure::Failure, service_manager::Inherited};
use crate::{
    address::Address,
    config::Addresses,
    connection::{Listener, tls},
    server::Listeners,
};

/// The length of the queue of connections that wait to be accepted; the system may allow less. The
/// runtime's default of 128 is less than what a proxy opens at once, and the rest is reset.
const BACKLOG: u32 = 4096;

/// Listens for gRPC and on the admin port, on sockets of the service manager where it passed them.
pub(super) async fn listen(
    addresses: &Addresses,
    mut inherited: Inherited,
) -> Result<Listeners, Failure> {
    let grpc = match &addresses.grpc {
        Address::Tcp(addr) => tcp("grpc", *addr, &mut inherited)?.into(),
        Address::Unix(path) => unix(path, addresses.socket_mode, &mut inherited)
            .await
            .map_err(|error| failed("grpc", &addresses.grpc, &error))?,
    };
    let admin = tcp("admin", addresses.admin, &mut inherited)?;
    inherited.end()?;
    Ok(Listeners { grpc, admin })
}

fn tcp(what: &str, addr: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener, Failure> {
    let Some(listener) = inherited.tcp(addr) else { return bind(what, addr) };
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    listener.map_err(|error| Failure::run(&error))
}

#[cfg(unix)]
async fn unix(
    path: &std::path::Path,
    mode: u32,
    inherited: &mut Inherited,
) -> io::Result<Listener> {
    use crate::connection::UnixSocket;

    let socket = match inherited.unix(path) {
        Some(listener) => UnixSocket::inherited(listener)?,
        None => UnixSocket::bind(path, mode, BACKLOG).await?,
    };
    Ok(Listener::Unix(socket))
}

#[cfg(not(unix))]
async fn unix(_: &std::path::Path, _: u32, _: &mut Inherited) -> io::Result<Listener> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Listens on an IP address and a port.
pub(super) fn bind(what: &str, addr: SocketAddr) -> Result<TcpListener, Failure> {
    let listen = || {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // As `TcpListener::bind` does, so that a restart need not wait.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| failed(what, &Address::Tcp(addr), &error))
}

fn failed(what: &str, address: &Address, error: &io::Error) -> Failure {
    let what_helps = match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, Address::Tcp(addr)) => {
            format!("; --{what}-addr {} takes a free port", SocketAddr::new(addr.ip(), 0))
        }
        _ => String::new(),
    };
    Failure::Run(format!("cannot listen for {what} on {address}: {error}{what_helps}"))
}

/// Says where something listens, in a form that scripts can read.
pub(super) fn listening(what: &str, address: &Address) -> String {
    format!("{what} listening on {address}\n")
}

/// Returns the address of a port.
pub(super) fn addr_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::run(&error))
}

/// Returns a URL by which this machine reaches the address. With TLS it names `localhost` where
/// that is the same address and the certificate is for it. Any other name of the certificate may
/// lead to another machine, which would get the credentials of the client.
pub(super) fn url_of(address: Address, tls: Option<&tls::Files>) -> String {
    let mut addr = match address {
        Address::Tcp(addr) => addr,
        unix @ Address::Unix(_) => return unix.to_string(),
    };
    let listens = addr.ip();
    addr.set_ip(reachable(listens));
    let Some(tls) = tls else { return format!("http://{addr}") };
    let (ip, names) = (addr.ip(), tls.names());
    let is_localhost = ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
    let is_for = |name: &str| names.iter().any(|it| it.eq_ignore_ascii_case(name));
    match is_localhost && is_for("localhost") && !is_for(&ip.to_string()) && leads_to(listens) {
        true => format!("https://localhost:{}", addr.port()),
        false => format!("https://{addr}"),
    }
}

/// Returns the address at which this machine reaches who listens here.
pub(super) fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether the name `localhost`, which may be that of one family alone, leads to who listens here.
fn leads_to(ip: IpAddr) -> bool {
    // Who listens on all addresses of IPv6 does so on those of IPv4.
    let reaches = |addr: SocketAddr| {
        addr.ip() == ip || ip.is_unspecified() && (ip.is_ipv6() || addr.is_ipv4())
    };
    ("localhost", 0).to_socket_addrs().is_ok_and(|mut addrs| addrs.any(reaches))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_url_with_tls_leads_nowhere_but_to_the_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let files_for = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let signed = rcgen::generate_simple_self_signed(names).expect("a certificate");
            let certificate = folder.path().join("server.pem");
            fs::write(&certificate, signed.cert.pem()).expect("a file");
            tls::Files { certificate, key: folder.path().join("server.key"), client_ca: None }
        };
        for (addr, names, expected) in [
            ("192.0.2.1:1", &["totp.example.com"][..], "https://192.0.2.1:1"),
            ("192.0.2.1:1", &["localhost"], "https://192.0.2.1:1"),
            ("[2001:db8::1]:1", &["totp.example.com"], "https://[2001:db8::1]:1"),
            ("127.0.0.1:1", &["totp.example.com"], "https://127.0.0.1:1"),
            ("127.0.0.2:1", &["localhost"], "https://127.0.0.2:1"),
            ("127.0.0.1:1", &["totp.example.com", "localhost"], "https://localhost:1"),
            ("127.0.0.1:1", &["localhost", "127.0.0.1"], "https://127.0.0.1:1"),
            ("0.0.0.0:1", &["localhost"], "https://localhost:1"),
            ("[::]:1", &["localhost"], "https://localhost:1"),
        ] {
            let address = Address::Tcp(addr.parse().expect("an address"));

            let url = url_of(address, Some(&files_for(names)));

            assert_eq!(url, expected, "{addr} {names:?}");
        }
    }
}
