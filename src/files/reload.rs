//! Values that are reloaded when their files change: secrets, certificates, policies.
//!
//! A mounted secret changes by a swap of symbolic links, which a watch on the file itself does not
//! see, and some file systems report no changes at all. So the folders are watched *and* the
//! contents are compared every few seconds.
//!
//! If the new contents cannot be used, the old value stays in force, and the failure is logged and
//! counted once per change. An emptied file is different: removing the last credential from a file
//! revokes it, so from then on nobody is admitted. At startup, an empty file is an error.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use notify::Watcher as _;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::telemetry::metrics::{Metrics, Reloads};

/// How often to compare the contents, regardless of the watch.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait after a change for related changes: several files are written one after the
/// other.
const SETTLE_TIME: Duration = Duration::from_millis(50);
/// How long a file must stay empty before that counts: writing a file in place empties it first.
const EMPTY_TIME: Duration = Duration::from_secs(1);
/// How long reading files may take, on a mount that hangs, before it counts as failed.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How many reads of the same files may hang: the second is for files that have been replaced.
const MAX_HANGING: usize = 2;
/// How many times in a row to read files that change while they are read.
const MAX_READS: usize = 3;

/// A value that is read from files.
pub trait Content: Send + Sync + 'static {
    /// What an empty value does.
    const EMPTY: &'static str = "admits nobody";

    /// Returns what an empty value lacks, as in `holds no token`. `None` if the value is not empty,
    /// or if values of its type admit nobody anyway.
    fn missing(&self) -> Option<String> {
        None
    }

    /// Returns when its certificates expire, those of each kind together.
    fn expirations(&self) -> Vec<Expiration> {
        Vec::new()
    }
}

impl<T: Content> Content for Option<T> {
    const EMPTY: &'static str = T::EMPTY;

    fn missing(&self) -> Option<String> {
        self.as_ref().and_then(T::missing)
    }

    fn expirations(&self) -> Vec<Expiration> {
        self.as_ref().map(T::expirations).unwrap_or_default()
    }
}

/// When the certificates of one kind expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiration {
    /// What tells the kind from others of the same value. Metrics append it to the kind of file.
    pub suffix: &'static str,
    /// When the first of them expires; `None` if there is none.
    pub at: Option<SystemTime>,
}

/// Returns `value` if it is not empty, as startup requires.
///
/// # Errors
///
/// Says what is missing.
pub(crate) fn complete<T: Content>(value: T) -> Result<T, String> {
    match value.missing() {
        None => Ok(value),
        Some(what) => Err(what),
    }
}

/// A value that is reloaded when its files change. Clones share it. Reading it takes no lock.
#[derive(Debug)]
pub struct Reloaded<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    value: ArcSwap<T>,
    changed: Notify,
}

impl<T> Shared<T> {
    fn new(value: T) -> Arc<Self> {
        Arc::new(Self { value: ArcSwap::from_pointee(value), changed: Notify::new() })
    }

    fn set(&self, value: T) {
        self.value.store(Arc::new(value));
        self.changed.notify_one();
    }
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Creates a value that never changes by itself.
    pub fn fixed(value: T) -> Self {
        Self(Shared::new(value))
    }

    /// Returns the current value.
    pub fn get(&self) -> Arc<T> {
        self.0.value.load_full()
    }

    /// Borrows the current value for a moment, not to be held while waiting. Counts no reference:
    /// threads that read the same value would contend for the count.
    pub(crate) fn borrow(&self) -> impl Deref<Target = Arc<T>> {
        self.0.value.load()
    }

    /// Replaces the value, ahead of a reload.
    pub fn set(&self, value: T) {
        self.0.set(value);
    }

    /// Waits for the next change, or returns at once if there was one since the last wait. Supports
    /// one waiter at a time.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

impl<T: Content> Reloaded<T> {
    /// Loads a value from `paths`, and reloads it whenever one of them changes, until the last
    /// clone is dropped. `file` names the kind of file in logs and metrics. Must be called within a
    /// Tokio runtime.
    ///
    /// # Errors
    ///
    /// Returns the error of `load`, or says what is missing.
    pub fn from_files(
        metrics: &Metrics,
        file: &'static str,
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // The watch and the hashes precede the load, so that a change in between is noticed later.
        let (changed, changes) = mpsc::channel(1);
        let watcher = watcher(file, &paths, changed);
        let seen = contents(&paths);
        let value = load().and_then(complete)?;
        let (reloads, metrics) = (metrics.reloads(file), metrics.clone());
        let (paths, load) = (paths.into(), Arc::new(load));
        let reads = Arc::new(Semaphore::new(MAX_HANGING));
        let files = Files { file, paths, seen, reloads, metrics, load, reads, is_hanging: false };
        files.in_use(&value.expirations());
        let value = Self(Shared::new(value));
        let held = Arc::downgrade(&value.0);
        tokio::spawn(async move {
            let _watcher = watcher;
            files.keep_up(changes, held).await;
        });
        Ok(value)
    }
}

/// The files of one value.
struct Files<Load> {
    file: &'static str,
    paths: Arc<[PathBuf]>,
    /// The contents that were last loaded.
    seen: Contents,
    reloads: Reloads,
    metrics: Metrics,
    load: Arc<Load>,
    /// A permit for each read that may begin.
    reads: Arc<Semaphore>,
    /// Whether the last read did not end in time.
    is_hanging: bool,
}

impl<Load> Files<Load> {
    /// Reloads at each change, until `value` is dropped.
    async fn keep_up<T: Content>(mut self, mut changes: mpsc::Receiver<()>, value: Weak<Shared<T>>)
    where
        Load: Fn() -> Result<T, String> + Send + Sync + 'static,
    {
        loop {
            // Without a watcher the channel is closed, and only the interval counts.
            let change = timeout(POLL_INTERVAL, changes.recv()).await;
            match change {
                Ok(Some(())) => sleep(SETTLE_TIME).await,
                Ok(None) => sleep(POLL_INTERVAL).await,
                Err(_) => {}
            }
            if value.strong_count() == 0 {
                return;
            }
            let _ = changes.try_recv();
            let Some(now) = self.contents().await else { continue };
            if now == self.seen {
                continue;
            }
            let Some(mut loaded) = self.load(now).await else { continue };
            if loaded.as_ref().is_ok_and(|new| new.missing().is_some()) {
                sleep(EMPTY_TIME).await;
                // The same contents may have been written again after a moment of emptiness.
                match self.read().await {
                    Some((again, now)) if now == self.seen => loaded = again,
                    _ => {
                        // Whatever is found next is new.
                        self.seen = Contents::new();
                        continue;
                    }
                }
            }
            let Some(value) = value.upgrade() else { return };
            self.replace(&value, loaded);
        }
    }

    /// Loads the files, whose contents are `now`. If they change meanwhile, the loaded value may be
    /// neither the old nor the new one, so they are loaded again. Returns `None` if they keep
    /// changing; the next poll then tries again.
    async fn load<T: Content>(&mut self, mut now: Contents) -> Option<Result<T, String>>
    where
        Load: Fn() -> Result<T, String> + Send + Sync + 'static,
    {
        for _ in 0..MAX_READS {
            let (loaded, after) = self.read().await?;
            if after == now {
                self.seen = now;
                return Some(loaded);
            }
            now = after;
        }
        None
    }

    /// Loads the files, and returns their contents after that.
    async fn read<T: Content>(&mut self) -> Option<(Result<T, String>, Contents)>
    where
        Load: Fn() -> Result<T, String> + Send + Sync + 'static,
    {
        let (load, paths) = (Arc::clone(&self.load), Arc::clone(&self.paths));
        self.off_thread(move || (load(), contents(&paths))).await
    }

    async fn contents(&mut self) -> Option<Contents> {
        let paths = Arc::clone(&self.paths);
        self.off_thread(move || contents(&paths)).await
    }

    /// Runs what reads files on a thread of its own: on a mount that hangs, it would keep this one
    /// from serving. Returns `None` if it does not end in time.
    async fn off_thread<T: Send + 'static>(
        &mut self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.reads).try_acquire_owned();
        let result = match permit {
            Err(_) => None,
            Ok(permit) => {
                let read = spawn_blocking(move || (read(), permit));
                timeout(READ_TIMEOUT, read).await.ok().and_then(Result::ok)
            }
        };
        if result.is_none() != self.is_hanging {
            self.is_hanging = result.is_none();
            if self.is_hanging {
                let error = format_args!("reading takes longer than {READ_TIMEOUT:?}");
                tracing::error!(
                    file = self.file,
                    error,
                    "cannot be reloaded: the previous value stays in force"
                );
                self.reloads.failed();
            } else {
                self.reloads.succeeded();
            }
        }
        result.map(|(result, _)| result)
    }

    /// Records that the content of the files is in use, with certificates that expire then.
    fn in_use(&self, expirations: &[Expiration]) {
        self.reloads.succeeded();
        for Expiration { suffix, at } in expirations {
            self.metrics.expires(&format!("{}{suffix}", self.file), *at);
        }
    }

    fn replace<T: Content>(&self, value: &Shared<T>, loaded: Result<T, String>) {
        let file = self.file;
        match loaded {
            Ok(new) => {
                match new.missing() {
                    None => tracing::info!(file, "reloaded"),
                    Some(what) => {
                        tracing::warn!(file, what, "reloaded: from now on it {}", T::EMPTY)
                    }
                }
                let expirations = new.expirations();
                value.set(new);
                self.in_use(&expirations);
            }
            Err(error) => {
                tracing::error!(file, %error, "cannot be reloaded: the previous value stays in force");
                self.reloads.failed();
            }
        }
    }
}

/// Watches the folders of `paths`, as far as the file system reports changes.
fn watcher(
    file: &str,
    paths: &[PathBuf],
    changed: mpsc::Sender<()>,
) -> Option<notify::RecommendedWatcher> {
    let report = move |_: notify::Result<notify::Event>| {
        // A full channel already holds the notice.
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
    watched.inspect_err(|error| tracing::warn!(file, %error, "not watched, only polled")).ok()
}

/// The hash of each file; `None` for one that cannot be read.
type Contents = Vec<Option<Vec<u8>>>;

/// Returns the hashes of the files: their contents may be secret.
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
    use crate::telemetry::metrics::Format;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("value");
        (folder, file)
    }

    /// A number in a file; 0 admits nobody.
    #[derive(Debug)]
    struct Number(u32);

    impl Content for Number {
        fn missing(&self) -> Option<String> {
            (self.0 == 0).then(|| "holds no number".to_owned())
        }
    }

    fn try_number(metrics: &Metrics, path: PathBuf) -> Result<Reloaded<Number>, String> {
        let file = path.clone();
        let load = move || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            match text.trim() {
                "" => Ok(Number(0)),
                text => text.parse().map(Number).map_err(|_| "no number".to_owned()),
            }
        };
        Reloaded::from_files(metrics, "number", vec![path], load)
    }

    fn number(path: PathBuf) -> Reloaded<Number> {
        try_number(&Metrics::default(), path).unwrap()
    }

    async fn becomes(value: &Reloaded<Number>, expected: u32) {
        let what = || format!("still {}", value.get().0);
        eventually(|| value.get().0 == expected, what).await;
    }

    async fn eventually(holds: impl Fn() -> bool, what: impl Fn() -> String) {
        let start = std::time::Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", what());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn shows(metrics: &Metrics, line: &str) {
        let has = || metrics.page(Format::Text).lines().any(|it| it == line);
        eventually(has, || format!("no {line} in {}", metrics.page(Format::Text))).await;
    }

    #[tokio::test]
    async fn a_changed_file_is_reloaded_and_an_unusable_one_is_not() {
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

    #[tokio::test]
    async fn an_empty_file_is_an_error_at_start_and_admits_nobody_later() {
        let (_folder, file) = folder();
        fs::write(&file, "").unwrap();
        let refused = try_number(&Metrics::default(), file.clone()).unwrap_err();
        assert_eq!(refused, "holds no number");
        fs::write(&file, "1").unwrap();
        let value = number(file.clone());

        fs::write(&file, "").unwrap();
        becomes(&value, 0).await;
        fs::write(&file, "2").unwrap();
        becomes(&value, 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_emptied_only_to_be_rewritten_never_counts_as_empty() {
        let (_folder, file) = folder();
        fs::write(&file, "1").unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let value = Shared::new(Number(1));
        let files = Files {
            file: "number",
            seen: contents(std::slice::from_ref(&file)),
            paths: [file.clone()].into(),
            reloads: Metrics::default().reloads("number"),
            metrics: Metrics::default(),
            reads: Arc::new(Semaphore::new(MAX_HANGING)),
            is_hanging: false,
            load: {
                let file = file.clone();
                Arc::new(move || {
                    Ok(Number(fs::read_to_string(&file).unwrap().parse().unwrap_or(0)))
                })
            },
        };
        tokio::spawn(files.keep_up(receiver, Arc::downgrade(&value)));
        let is = |expected| assert_eq!(value.value.load().0, expected);

        fs::write(&file, "").unwrap();
        sender.send(()).await.unwrap();
        sleep(SETTLE_TIME + EMPTY_TIME / 2).await;
        is(1);
        fs::write(&file, "2").unwrap();
        sender.send(()).await.unwrap();
        sleep(EMPTY_TIME * 2).await;
        is(2);
        fs::write(&file, "").unwrap();
        sender.send(()).await.unwrap();
        sleep(EMPTY_TIME * 2).await;
        is(0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_empty_only_while_it_is_read_never_counts_as_empty() {
        for contents_in_turn in [
            &["2"][..],
            &["3"],
            &["3", "4", "5"],
            &["3", "4", "5", "6", "7", "8", "9"],
            &["3", "2", "2"],
        ] {
            let (_folder, file) = folder();
            fs::write(&file, "1").unwrap();
            let (sender, receiver) = mpsc::channel(1);
            let value = Shared::new(Number(1));
            let reads = std::sync::atomic::AtomicUsize::new(0);
            let files = Files {
                file: "number",
                seen: contents(std::slice::from_ref(&file)),
                paths: [file.clone()].into(),
                reloads: Metrics::default().reloads("number"),
                metrics: Metrics::default(),
                reads: Arc::new(Semaphore::new(MAX_HANGING)),
                is_hanging: false,
                load: {
                    let file = file.clone();
                    // Another process writes in place between the hash and the load, and finishes
                    // afterwards.
                    Arc::new(move || {
                        let read = reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        if let Some(content) = contents_in_turn.get(read) {
                            fs::write(&file, content).unwrap();
                            return Ok(Number(0));
                        }
                        Ok(Number(fs::read_to_string(&file).unwrap().parse().unwrap_or(0)))
                    })
                },
            };
            tokio::spawn(files.keep_up(receiver, Arc::downgrade(&value)));

            fs::write(&file, "2").unwrap();
            sender.send(()).await.unwrap();
            let end = tokio::time::Instant::now() + 8 * POLL_INTERVAL;
            while tokio::time::Instant::now() < end {
                sleep(EMPTY_TIME / 2).await;
                assert_ne!(value.value.load().0, 0, "{contents_in_turn:?}");
            }

            let last: u32 = contents_in_turn.last().unwrap().parse().unwrap();
            assert_eq!(value.value.load().0, last, "{contents_in_turn:?}");
        }
    }

    #[tokio::test]
    async fn a_failed_reload_is_counted_and_visible_until_one_succeeds() {
        let (_folder, file) = folder();
        let metrics = Metrics::default();
        fs::write(&file, "1").unwrap();
        let value = try_number(&metrics, file.clone()).unwrap();
        let failures =
            |count| format!("totp_facade_reload_failures_total{{file=\"number\"}} {count}");
        let failed = |is| format!("totp_facade_reload_last_failed{{file=\"number\"}} {is}");
        let page = metrics.page(Format::Text);
        assert!(page.contains(&failures(0)) && page.contains(&failed(0)), "{page}");
        let success = "\ntotp_facade_reload_last_success_timestamp_seconds{file=\"number\"} ";
        let (_, rest) = page.split_once(success).unwrap();
        assert!(!rest.starts_with('0'), "{page}");

        fs::write(&file, "one").unwrap();
        shows(&metrics, &failures(1)).await;
        shows(&metrics, &failed(1)).await;
        fs::remove_file(&file).unwrap();
        shows(&metrics, &failures(2)).await;
        assert_eq!(value.get().0, 1, "the old value stays in force");
        fs::write(&file, "1").unwrap();
        shows(&metrics, &failed(0)).await;
        shows(&metrics, &failures(2)).await;
    }
}
