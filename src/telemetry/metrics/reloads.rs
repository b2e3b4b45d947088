//! The metrics about reloads of files.

use std::{sync::Arc, time::SystemTime};

use super::{
    label::names,
    value::{Counter, Gauge},
};

names! {
    /// The kind of file, in a word.
    pub struct File = "file";
}

/// The metrics about reloads of one kind of file.
#[derive(Clone, Debug)]
pub struct Reloads {
    pub(super) failures: Arc<Counter>,
    pub(super) last_failed: Arc<Gauge>,
    pub(super) last_success: Arc<Gauge>,
}

impl Reloads {
    /// Records that new content is in use.
    pub fn succeeded(&self) {
        self.last_success.set_time(SystemTime::now());
        self.last_failed.set(0);
    }

    /// Records that the current content of the file cannot be used.
    pub fn failed(&self) {
        self.failures.inc();
        self.last_failed.set(1);
    }
}
