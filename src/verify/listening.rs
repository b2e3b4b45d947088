//! Where the façade of a run listens: it has the secret of the project and asks nobody who they
//! are, so no other user of the machine may reach it.

use super::setup::SetupError;
use crate::connection::Listener;

/// A socket that listens, and how to call it.
pub(super) struct Listening {
    pub(super) listener: Listener,
    pub(super) url: String,
    /// Holds the socket.
    pub(super) folder: Folder,
}

/// A folder that is removed with the value.
#[cfg(unix)]
pub(super) type Folder = tempfile::TempDir;
#[cfg(not(unix))]
pub(super) type Folder = ();

/// Listens on a Unix domain socket in a folder that only this user can enter.
#[cfg(unix)]
pub(super) async fn listen() -> Result<Listening, SetupError> {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use crate::connection::UnixSocket;

    /// The length of the queue of connections: there is one client.
    const BACKLOG: u32 = 16;

    let folder = tempfile::Builder::new()
        .prefix("totp-facade-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| SetupError::of(&error))?;
    let path = folder.path().join("grpc.sock");
    let socket = UnixSocket::bind(&path, 0o600, BACKLOG).await;
    let socket = socket.map_err(|error| SetupError(format!("{}: {error}", path.display())))?;
    let url = format!("unix:{}", path.display());
    Ok(Listening { listener: Listener::Unix(socket), url, folder })
}

/// Listens on loopback, where there are no Unix domain sockets.
#[cfg(not(unix))]
pub(super) async fn listen() -> Result<Listening, SetupError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|error| SetupError::of(&error))?;
    let addr = listener.local_addr().map_err(|error| SetupError::of(&error))?;
    Ok(Listening { listener: listener.into(), url: format!("http://{addr}"), folder: () })
}
