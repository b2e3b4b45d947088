//! Where the façade listens, how much it takes on, and how it stops.

use std::{net::SocketAddr, num::NonZero, thread::available_parallelism, time::Duration};

use super::{
    kind::{ADDR, COUNT, Kind, TIME, addr},
    setting::{Setting, settings},
    unchecked::Reader,
};
use crate::{
    address::{self, Address},
    server,
};

/// A number of threads.
const THREADS: Kind<usize> = Kind::text("COUNT", |text| {
    let count = text.parse().ok().filter(|count| (1..=1024).contains(count));
    count.ok_or_else(|| format!("{text:?} is not a number from 1 to 1024"))
})
.limits("From 1 to 1024");

/// An IP address with a port, or the path of a Unix domain socket.
const GRPC: Kind<Address> = Kind::text("ADDR", |text| match address::unix(text) {
    Some(unix) => unix,
    None => match addr(text, "127.0.0.1:50051") {
        Ok(addr) => Ok(Address::Tcp(addr)),
        Err(problem) => Err(format!("{problem}, or unix:PATH")),
    },
});

/// Permissions of a file.
const MODE: Kind<u32> = Kind::shown(
    "MODE",
    |text| {
        let mode = u32::from_str_radix(text, 8).ok();
        let mode = mode.filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600);
        mode.ok_or_else(|| format!("{text:?} is not a mode such as 0660 that lets its owner in"))
    },
    |mode| format!("{mode:04o}"),
);

settings! { SERVER "Server"
    /// Address to listen on for gRPC: IP:PORT, or unix:PATH for a Unix domain socket. Port 0 takes
    /// a free port and prints it.
    GRPC_ADDR: Address = Setting::new("TOTP_FACADE_GRPC_ADDR", GRPC).default("127.0.0.1:50051");

    /// Permissions of the Unix domain socket, in octal: whoever may write to it may connect.
    GRPC_SOCKET_MODE: u32 = Setting::new("TOTP_FACADE_GRPC_SOCKET_MODE", MODE).default("0600");

    /// Address to listen on for HTTP: `/livez`, `/readyz` and `/metrics`. Port 0 takes a free port
    /// and prints it.
    ADMIN_ADDR: SocketAddr = Setting::new("TOTP_FACADE_ADMIN_ADDR", ADDR).default("127.0.0.1:9464");

    /// Number of threads that serve connections. Each connection stays on one thread.
    WORKER_THREADS: usize = Setting::new("TOTP_FACADE_WORKER_THREADS", THREADS)
        .derived("the number of CPUs that the process may use");

    /// Maximum number of concurrent calls. Further calls are refused at once.
    MAX_IN_FLIGHT: usize = Setting::new("TOTP_FACADE_MAX_IN_FLIGHT", COUNT).default("1024");

    /// Maximum number of open connections. A new one evicts the oldest of those that have carried
    /// no call to Stytch yet.
    MAX_CONNECTIONS: usize = Setting::new("TOTP_FACADE_MAX_CONNECTIONS", COUNT).default("512");

    /// Time after which a connection is closed, from callers and to Stytch alike, give or take a
    /// random tenth. 0s keeps connections open.
    MAX_CONNECTION_AGE: Duration =
        Setting::new("TOTP_FACADE_MAX_CONNECTION_AGE", TIME).default("10m");
}

settings! { SHUTDOWN "Shutdown"
    /// Time from the stop signal, at which health turns to NOT_SERVING, until new calls are
    /// refused, so that load balancers can notice.
    DRAIN_DELAY: Duration = Setting::new("TOTP_FACADE_DRAIN_DELAY", TIME).default("2s");

    /// Time for open calls to finish after the delay. Together the two should be shorter than the
    /// 30s after which Kubernetes kills by default.
    DRAIN_TIMEOUT: Duration = Setting::new("TOTP_FACADE_DRAIN_TIMEOUT", TIME).default("25s");
}

/// Where a façade listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The address for gRPC.
    pub grpc: Address,
    /// The permissions of the socket, if that is the path of one.
    pub socket_mode: u32,
    /// The address for HTTP probes and metrics.
    pub admin: SocketAddr,
}

/// Reads the addresses for gRPC and for HTTP.
pub(super) fn addresses(reader: &mut Reader<'_>) -> Option<Addresses> {
    let (grpc, admin) = (reader.get(&GRPC_ADDR), reader.get(&ADMIN_ADDR));
    let socket_mode = reader.get(&GRPC_SOCKET_MODE);
    let (grpc, admin) = (grpc?, admin?);
    if grpc == Address::Tcp(admin) && admin.port() != 0 {
        return reader.problem(&ADMIN_ADDR, format!("must not be the address of {GRPC_ADDR}"));
    }
    if !grpc.is_unix() {
        reader.show(&GRPC_SOCKET_MODE, "(not used)");
    }
    Some(Addresses { grpc, socket_mode: socket_mode?, admin })
}

/// Reads limits and times.
pub(super) fn read(reader: &mut Reader<'_>, reflection: Option<bool>) -> Option<server::Settings> {
    // Respects the affinity of the process and the quota of its control group.
    let cpus = || Some(available_parallelism().map_or(1, NonZero::get));
    let worker_threads = reader.get_or(&WORKER_THREADS, cpus);
    let max_in_flight = reader.get(&MAX_IN_FLIGHT);
    let max_connections = reader.get(&MAX_CONNECTIONS);
    let max_connection_age = reader.get(&MAX_CONNECTION_AGE);
    let drain_delay = reader.get(&DRAIN_DELAY);
    let drain_timeout = reader.get(&DRAIN_TIMEOUT);
    Some(server::Settings {
        reflection: reflection?,
        worker_threads: worker_threads?,
        max_in_flight: max_in_flight?,
        max_connections: max_connections?,
        max_connection_age: max_connection_age?,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
    })
}
