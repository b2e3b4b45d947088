//! A Unix domain socket to listen on, and its file.
//!
//! The file has its permissions before anybody can connect: connections are refused until the
//! socket listens. A file that nobody listens on is replaced. Processes that start on the same path
//! at once take turns, by a lock on the folder.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixSocket as Unbound, UnixStream},
    time::sleep,
};

/// A Unix domain socket that listens.
#[derive(Debug)]
pub struct UnixSocket {
    // Removed before the socket closes: nobody replaces the file of a socket that listens.
    #[expect(dead_code, reason = "removes the file on drop")]
    file: Option<SocketFile>,
    listener: UnixListener,
}

impl UnixSocket {
    /// Listens on a new file with these permissions, which is removed once this is dropped.
    ///
    /// # Errors
    ///
    /// The path is in use, or the system refuses something.
    pub async fn bind(path: &Path, mode: u32, backlog: u32) -> io::Result<Self> {
        let _turn = take_turn(path).await?;
        make_room(path).await?;
        let socket = Unbound::new_stream()?;
        socket.bind(path)?;
        let file = SocketFile::new(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(Self { file: Some(file), listener: socket.listen(backlog)? })
    }

    /// Listens on a socket of the service manager, who removes its file.
    ///
    /// # Errors
    ///
    /// The system refuses the socket.
    pub fn inherited(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { file: None, listener: UnixListener::from_std(listener)? })
    }

    /// Returns the path of the socket.
    pub(super) fn path(&self) -> io::Result<PathBuf> {
        let addr = self.listener.local_addr()?;
        Ok(addr.as_pathname().unwrap_or(Path::new("")).to_owned())
    }

    pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        let (stream, _) = ready!(self.listener.poll_accept(context))?;
        Poll::Ready(Ok(stream))
    }
}

/// The file of a socket, removed on drop if it is still the one that was made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        // Absolute, for the working directory may change.
        let path = std::path::absolute(path)?;
        Ok(Self { id: id(&path)?, path })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the socket");
        }
    }
}

/// Returns the device and the number of a file.
fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Waits until no other process prepares a socket in the same folder. It is this one's turn until
/// the result is dropped.
async fn take_turn(path: &Path) -> io::Result<File> {
    const PATIENCE: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    for _ in 0..PATIENCE {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::WouldBlock) => sleep(PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "another process keeps its folder locked"))
}

/// Removes the file of a socket that nobody listens on.
async fn make_room(path: &Path) -> io::Result<()> {
    let in_use = |what| Err(io::Error::new(ErrorKind::AddrInUse, what));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return in_use("there is a file that is not a socket");
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        // It has no room for a connection, but somebody listens.
        Err(error) if error.kind() == ErrorKind::WouldBlock => in_use("another process listens"),
        Err(error) => Err(error),
        Ok(_) => in_use("another process listens"),
    }
}
