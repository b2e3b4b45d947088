//! The exit codes of the program, besides 0.

/// A bad flag or setting, as in BSD's `sysexits.h`.
pub(super) const USAGE: u8 = 64;

/// A failure at run time.
pub(super) const FAILURE: u8 = 1;
