//! The sandbox's time: a clock that can be set ahead, and the formats in which Stytch writes times.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::Value;

/// The limit of a clock's offset: a century. More is a typing error, and could overflow.
const MAX_OFFSET: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A clock that can be set ahead of its source.
#[derive(Clone)]
pub(super) struct Clock {
    source: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    offset: Duration,
}

impl Clock {
    /// Creates a clock that shows the time of `source`.
    pub(super) fn new(source: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source), offset: Duration::ZERO }
    }

    /// Returns the current time.
    pub(super) fn now(&self) -> SystemTime {
        (self.source)() + self.offset
    }

    /// Sets the clock ahead by `by`, or returns why it cannot be.
    pub(super) fn advance(&mut self, by: Duration) -> Result<(), String> {
        let offset = self.offset.checked_add(by).filter(|offset| *offset <= MAX_OFFSET);
        self.offset = offset.ok_or("too far: the clock can be at most 100 years ahead")?;
        Ok(())
    }
}

/// Formats a time as Stytch's JSON does, to the second.
pub(super) fn rfc3339(time: SystemTime) -> Value {
    humantime::format_rfc3339_seconds(time).to_string().into()
}

/// Returns a time as whole seconds since 1970, the format of JWTs and of TOTP.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
