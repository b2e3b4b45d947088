//! The sockets that subcommands listen on, and how they say so.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
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
    Failure::Run(format!("cannot listen for {what} on {address}: {error}"))
}

/// Says where something listens, in a form that scripts can read.
pub(super) fn listening(what: &str, address: &Address) -> String {
    format!("{what} listening on {address}\n")
}

/// Returns the address of a port.
pub(super) fn addr_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::run(&error))
}

/// Returns a URL by which this machine reaches the address: with TLS, by a name of the certificate
/// where one fits.
pub(super) fn url_of(address: Address, tls: Option<&tls::Files>) -> String {
    let mut addr = match address {
        Address::Tcp(addr) => addr,
        unix @ Address::Unix(_) => return unix.to_string(),
    };
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let Some(tls) = tls else { return format!("http://{addr}") };
    let (ip, names) = (addr.ip(), tls.names());
    // On loopback, any other name would be that of another machine.
    let is_fitting = |name: &&String| match ip.is_loopback() {
        true => *name == "localhost",
        false => !name.contains('*') && name.parse::<IpAddr>().is_err(),
    };
    match names.iter().find(is_fitting).filter(|_| !names.contains(&ip.to_string())) {
        Some(name) => format!("https://{name}:{}", addr.port()),
        None => format!("https://{addr}"),
    }
}
