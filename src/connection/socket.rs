//! Listening and accepted sockets, of TCP and of a Unix domain socket.

#[cfg(unix)]
use std::task::Context;
use std::{io, time::Duration};

#[cfg(unix)]
use futures_util::stream::poll_fn;
use futures_util::{Stream, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::TcpIncoming;

use super::peer::PeerAddr;
#[cfg(unix)]
use super::unix::UnixSocket;
use crate::address::Address;

#[cfg(unix)]
pub(super) type LocalStream = tokio::net::UnixStream;
/// Never made where there are no Unix domain sockets.
#[cfg(not(unix))]
pub(super) type LocalStream = TcpStream;

/// A socket on which connections arrive.
#[derive(Debug)]
pub enum Listener {
    /// An IP address and a port.
    Tcp(TcpListener),
    /// A path.
    #[cfg(unix)]
    Unix(UnixSocket),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

/// An accepted connection.
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(LocalStream),
}

impl Listener {
    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            #[cfg(unix)]
            Self::Unix(socket) => socket.path().map(Address::Unix),
        }
    }

    /// Returns the connections that arrive.
    pub(super) fn incoming(self) -> impl Stream<Item = io::Result<Socket>> + Unpin {
        match self {
            Self::Tcp(listener) => {
                let incoming = TcpIncoming::from(listener)
                    .with_nodelay(Some(true))
                    .with_keepalive(Some(Duration::from_secs(60)));
                incoming.map(|accepted| accepted.map(Socket::Tcp)).boxed()
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                let next = move |context: &mut Context<'_>| socket.poll_accept(context).map(Some);
                poll_fn(next).map(|accepted| accepted.map(Socket::Unix)).boxed()
            }
        }
    }
}

impl Socket {
    /// Moves the socket from the runtime that accepted it to the one that this is called on, in two
    /// steps: this one is for the former.
    pub(super) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            #[cfg(unix)]
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }

    /// Returns where the connection comes from, if the system tells.
    pub(super) fn peer(&self) -> Option<PeerAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(PeerAddr::Ip),
            #[cfg(unix)]
            Self::Unix(stream) => {
                let credentials = stream.peer_cred().ok()?;
                Some(PeerAddr::Unix { uid: credentials.uid(), pid: credentials.pid() })
            }
        }
    }
}

/// An accepted connection that belongs to no runtime.
pub(super) enum Detached {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Registers the connection with the runtime that this is called on.
    pub(super) fn attach(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            #[cfg(unix)]
            Self::Unix(stream) => Socket::Unix(LocalStream::from_std(stream)?),
        })
    }
}
