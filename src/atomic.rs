//! The atomics of the lock-free files that `models/` checks: there, loom's take their place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
