//! The atomics of what is checked exhaustively: `models/` compiles the same files with loom's in their place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
