//! Files that are read again when they change: secrets, certificates, policies.
//!
//! Mounted secrets change by a swap of symbolic links, which a watch of the file itself does not see, and some
//! file systems report nothing at all. So the folders are watched *and* the contents are compared every few
//! seconds. What cannot be used leaves the old value in force, and is said once for each content.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use notify::Watcher as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// How often contents are compared, whatever the watch says.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a change may take to be complete: several files, one after the other.
const SETTLES: Duration = Duration::from_millis(50);

/// A value that is read from files, and again when they change. Clones share it; reading it takes no lock.
#[derive(Debug)]
pub struct Reloaded<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// A value that stays as it is.
    pub fn fixed(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Puts another in its place, before the change of the file would.
    pub fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }

    /// What `load` reads from `paths`, now and whenever one of them changes, as long as somebody has the value.
    /// `what` names it in the log. Needs a runtime.
    ///
    /// # Errors
    ///
    /// What `load` finds wrong now.
    pub fn from_files(
        what: &'static str,
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + 'static,
    ) -> Result<Self, String> {
        // Watched and looked at before it is read, so that no change falls in between.
        let (changed, changes) = mpsc::channel(1);
        let watcher = watcher(what, &paths, changed);
        let seen = contents(&paths);
        let value = Self(Arc::new(ArcSwap::from_pointee(load()?)));
        let held = Arc::downgrade(&value.0);
        tokio::spawn(async move {
            let _watcher = watcher;
            keep_up(what, &paths, seen, changes, held, load).await;
        });
        Ok(value)
    }
}

/// Loads anew at each change, until `value` is gone.
async fn keep_up<T>(
    what: &'static str,
    paths: &[PathBuf],
    mut seen: Contents,
    mut changes: mpsc::Receiver<()>,
    value: Weak<ArcSwap<T>>,
    load: impl Fn() -> Result<T, String>,
) {
    loop {
        // Without a watcher the channel is closed, and only the time counts.
        let change = timeout(INTERVAL, changes.recv()).await;
        match change {
            Ok(Some(())) => sleep(SETTLES).await,
            Ok(None) => sleep(INTERVAL).await,
            Err(_) => {}
        }
        let Some(value) = value.upgrade() else { return };
        let _ = changes.try_recv();
        let now = contents(paths);
        if now == seen {
            continue;
        }
        seen = now;
        match load() {
            Ok(new) => {
                value.store(Arc::new(new));
                tracing::info!("{what} reloaded");
            }
            Err(error) => {
                tracing::error!(%error, "{what} cannot be used: the old one stays in force");
            }
        }
    }
}

/// Reports changes in the folders of `paths`, as far as the system tells.
fn watcher(
    what: &str,
    paths: &[PathBuf],
    changed: mpsc::Sender<()>,
) -> Option<notify::RecommendedWatcher> {
    let report = move |_: notify::Result<notify::Event>| {
        // A full channel has the news already.
        let _ = changed.try_send(());
    };
    let watched = notify::recommended_watcher(report).and_then(|mut watcher| {
        for path in paths {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watched
        .inspect_err(|error| tracing::warn!(%error, "{what} is not watched, only looked at"))
        .ok()
}

type Contents = Vec<Option<Vec<u8>>>;

/// What the files hold, as hashes: it may be secret.
fn contents(paths: &[PathBuf]) -> Contents {
    let hash = |bytes: Vec<u8>| {
        let mut hash = Context::new(&SHA256);
        hash.update(&zeroize::Zeroizing::new(bytes));
        hash.finish().as_ref().to_vec()
    };
    paths.iter().map(|path| std::fs::read(path).ok().map(hash)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value");
        (folder, file)
    }

    fn number(path: PathBuf) -> Reloaded<u32> {
        let file = path.clone();
        let load = move || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            text.trim().parse().map_err(|_| "no number".to_owned())
        };
        Reloaded::from_files("the number", vec![path], load).unwrap()
    }

    async fn becomes(value: &Reloaded<u32>, expected: u32) {
        let start = std::time::Instant::now();
        while *value.get() != expected {
            assert!(start.elapsed() < Duration::from_secs(20), "it stays {}", value.get());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again_and_one_that_cannot_be_used_is_not() {
        let (folder, file) = folder();
        fs::write(&file, "1").unwrap();
        let value = number(file.clone());

        fs::write(&file, "2").unwrap();
        becomes(&value, 2).await;
        fs::write(&file, "three").unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        fs::write(&file, "4").unwrap();
        becomes(&value, 4).await;
        fs::remove_file(&file).unwrap();
        fs::write(&file, "5").unwrap();
        becomes(&value, 5).await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_swap_of_symbolic_links_is_seen_as_in_a_mounted_secret() {
        use std::os::unix::fs::symlink;

        let (folder, file) = folder();
        for (data, text) in [("first", "1"), ("second", "2")] {
            fs::create_dir(folder.path().join(data)).unwrap();
            fs::write(folder.path().join(data).join("value"), text).unwrap();
        }
        symlink("first", folder.path().join("..data")).unwrap();
        symlink("..data/value", &file).unwrap();
        let value = number(file.clone());

        symlink("second", folder.path().join("..data_tmp")).unwrap();
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();

        becomes(&value, 2).await;
    }
}
