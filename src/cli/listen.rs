//! The sockets that subcommands listen on, and how they say so.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

use super::failure::Failure;

/// The length of the queue of connections that wait to be accepted; the system may allow less. The
/// runtime's default of 128 is less than what a proxy opens at once, and the rest is reset.
const BACKLOG: u32 = 4096;

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
    listen().map_err(|error: io::Error| {
        Failure::Run(format!("cannot listen for {what} on {addr}: {error}"))
    })
}

/// Says where something listens, in a form that scripts can read.
pub(super) fn listening(what: &str, listener: &TcpListener) -> Result<String, Failure> {
    Ok(format!("{what} listening on {}\n", addr_of(listener)?))
}

pub(super) fn addr_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::run(&error))
}

/// Returns a URL by which this machine reaches the listener.
pub(super) fn url_of(listener: &TcpListener, has_tls: bool) -> Result<String, Failure> {
    let mut addr = addr_of(listener)?;
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if has_tls { "https" } else { "http" };
    Ok(format!("{scheme}://{addr}"))
}
