//! The other end of a connection.

use std::{fmt, net::SocketAddr, sync::Arc};

use super::tls::ClientCertificate;

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it connects from.
    pub addr: Option<PeerAddr>,
    /// The client's certificate, if it presented one and that was trusted.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddr {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A process of this machine, on a Unix domain socket. The system vouches for both numbers;
    /// they are those of the moment when the process connected.
    Unix {
        /// The user that the process ran as.
        uid: u32,
        /// The process, if the system tells.
        pid: Option<i32>,
    },
}

/// As logs show it: `127.0.0.1:40000`, or `unix:1000[4242]` for process 4242 of user 1000.
impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix { uid, pid: None } => write!(f, "unix:{uid}"),
            Self::Unix { uid, pid: Some(pid) } => write!(f, "unix:{uid}[{pid}]"),
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(addr)
    }
}
