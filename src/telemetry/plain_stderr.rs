//! Standard error on systems other than Unix, where writing waits for whoever reads it.

use std::io::{self, Write as _};

use super::output::Destination;

/// Standard error.
#[derive(Debug)]
pub(super) struct Stderr;

/// Returns standard error.
pub(super) fn stderr() -> &'static Stderr {
    &Stderr
}

impl Stderr {
    /// Returns at once, for every write is taken.
    pub(super) fn wait(&self) {}
}

impl Destination for &Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write(bytes)
    }

    fn room(&self) -> usize {
        usize::MAX
    }
}
