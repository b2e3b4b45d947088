//! systemd, or whoever speaks its protocols: sockets that it passes, and what it is told.
//!
//! A socket is taken for the address that the settings name, whatever the service manager calls it,
//! and one for any other address is refused: the settings say who may call, and so they have to
//! say where.

use std::{env, io, net::SocketAddr, time::Duration};

use super::failure::Failure;
use crate::{address::Address, server::Heartbeat};

/// The sockets that the service manager passed and that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    tcp: Vec<std::net::TcpListener>,
    #[cfg(unix)]
    unix: Vec<std::os::unix::net::UnixListener>,
}

impl Inherited {
    /// Returns the sockets. Must be called once only, before this process opens descriptors of its
    /// own, which could be taken for those that were not passed.
    pub(super) fn new() -> Result<Self, Failure> {
        #[cfg(target_os = "linux")]
        passed::check().map_err(|what| Failure::usage(passed::COUNT, what))?;
        let mut this = Self::default();
        let sockets = sd_listen_fds::get().map_err(|error| Failure::usage(passed::COUNT, error))?;
        for (_, socket) in sockets {
            this.add(socket).map_err(|what| Failure::usage(passed::COUNT, what))?;
        }
        Ok(this)
    }

    fn add(&mut self, socket: sd_listen_fds::OwnedFd) -> Result<(), String> {
        let unknown = |error: io::Error| format!("cannot tell where a socket listens: {error}");
        let tcp = std::net::TcpListener::from(socket);
        #[cfg(target_os = "linux")]
        passed::check_listener(&tcp)?;
        #[cfg(unix)]
        if tcp.local_addr().is_err() {
            let unix = std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(tcp));
            unix.local_addr().map_err(unknown)?;
            self.unix.push(unix);
            return Ok(());
        }
        tcp.local_addr().map_err(unknown)?;
        self.tcp.push(tcp);
        Ok(())
    }

    /// Takes the socket of this address, if there is one.
    pub(super) fn tcp(&mut self, addr: SocketAddr) -> Option<std::net::TcpListener> {
        let is_meant = |it: &std::net::TcpListener| it.local_addr().is_ok_and(|it| it == addr);
        let found = self.tcp.iter().position(is_meant)?;
        Some(self.tcp.swap_remove(found))
    }

    /// Takes the socket of this path, if there is one.
    #[cfg(unix)]
    pub(super) fn unix(
        &mut self,
        path: &std::path::Path,
    ) -> Option<std::os::unix::net::UnixListener> {
        let is_meant = |it: &std::os::unix::net::UnixListener| {
            it.local_addr().is_ok_and(|it| it.as_pathname() == Some(path))
        };
        let found = self.unix.iter().position(is_meant)?;
        Some(self.unix.swap_remove(found))
    }

    /// Checks that every socket has been taken.
    pub(super) fn end(self) -> Result<(), Failure> {
        let tcp = self.tcp.iter().filter_map(|it| it.local_addr().ok().map(Address::Tcp));
        #[cfg(unix)]
        let unix = self.unix.iter().map(|it| {
            let addr = it.local_addr().ok();
            Address::Unix(addr.and_then(|it| it.as_pathname().map(Into::into)).unwrap_or_default())
        });
        #[cfg(not(unix))]
        let unix = std::iter::empty();
        match tcp.chain(unix).next() {
            None => Ok(()),
            Some(address) => Err(Failure::usage(
                "TOTP_FACADE_GRPC_ADDR",
                format!(
                    "the service manager passed a socket for {address}, which is neither this \
                     address nor TOTP_FACADE_ADMIN_ADDR"
                ),
            )),
        }
    }
}

/// The descriptors that the service manager says it passed.
mod passed {
    /// How many there are.
    pub(super) const COUNT: &str = "LISTEN_FDS";

    /// Checks that each is a socket. Whoever takes a descriptor that is not open aborts the process
    /// once it closes it.
    #[cfg(target_os = "linux")]
    pub(super) fn check() -> Result<(), String> {
        use std::{env, fs, os::unix::fs::FileTypeExt as _, path::Path};

        const FIRST: u32 = 3;
        const OPEN: &str = "/proc/self/fd";

        let number = |name| env::var(name).ok()?.parse::<u32>().ok();
        let is_ours = number("LISTEN_PID") == Some(std::process::id());
        let Some(count) = number(COUNT).filter(|_| is_ours) else { return Ok(()) };
        // Without /proc there is nothing to see.
        if !Path::new(OPEN).exists() {
            return Ok(());
        }
        let is_socket = |descriptor: &u32| {
            let file = fs::metadata(format!("{OPEN}/{descriptor}"));
            file.is_ok_and(|file| file.file_type().is_socket())
        };
        match (FIRST..FIRST.saturating_add(count)).find(|descriptor| !is_socket(descriptor)) {
            None => Ok(()),
            Some(descriptor) => Err(format!(
                "the service manager says that it passed {count} socket(s), from descriptor {FIRST} \
                 on, but descriptor {descriptor} is no socket"
            )),
        }
    }

    /// Checks that a socket accepts connections: from any other, nobody would be served.
    #[cfg(target_os = "linux")]
    pub(super) fn check_listener(socket: &std::net::TcpListener) -> Result<(), String> {
        use std::os::fd::AsRawFd as _;

        use rustix::net::{
            SocketType,
            sockopt::{socket_acceptconn, socket_type},
        };

        let is_listener = socket_type(socket).is_ok_and(|it| it == SocketType::STREAM)
            && socket_acceptconn(socket).unwrap_or_default();
        is_listener.then_some(()).ok_or_else(|| {
            format!(
                "the service manager passed a socket that accepts no connections, as descriptor {}; \
                 systemd needs ListenStream= and Accept=no",
                socket.as_raw_fd()
            )
        })
    }
}

/// Says that calls are answered.
pub(super) fn ready() {
    notify("READY=1");
}

/// Says that the drain has begun.
pub(super) fn stopping() {
    notify("STOPPING=1");
}

/// Returns the heartbeat that the service manager waits for, if it does.
pub(super) fn heartbeat() -> Option<Heartbeat> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let timeout = Duration::from_micros(number("WATCHDOG_USEC").filter(|timeout| *timeout > 0)?);
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    is_ours.then(|| Heartbeat { every: timeout / 2, beat: || notify("WATCHDOG=1") })
}

/// Tells the service manager something, if it listens.
#[cfg(target_os = "linux")]
fn notify(what: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, what) {
        tracing::warn!(%error, what, "cannot notify the service manager");
    }
}

#[cfg(not(target_os = "linux"))]
fn notify(_: &str) {}

#[cfg(target_os = "linux")]
fn send(socket: &std::ffi::OsStr, what: &str) -> io::Result<()> {
    use std::os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    };

    /// How long to wait for room in the queue of the service manager.
    const PATIENCE: Duration = Duration::from_secs(1);

    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(what.as_bytes(), &address).map(drop)
}
