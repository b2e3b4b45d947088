//! Which store holds the records, and for how long.
//!
//! A new store is a file that implements [`Store`], a variant here for its settings, and a line in
//! [`Settings::open`].

use std::time::Duration;

use super::{
    memory::Memory,
    redis::{Redis, RedisSettings},
    store::{Store, StoreError},
};
use crate::{stytch::Client, telemetry::metrics::Metrics};

/// Where records are stored, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a record is kept after its call has ended.
    pub ttl: Duration,
    /// The store.
    pub store: StoreSettings,
}

/// Where records are stored.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In this process.
    Memory {
        /// The limit on the size of all records together, in bytes.
        max_bytes: u64,
    },
    /// In Redis.
    Redis(RedisSettings),
}

impl Settings {
    /// Opens the store. Needs a runtime; does not wait for a connection.
    pub(super) fn open(
        &self,
        client: &Client,
        metrics: &Metrics,
    ) -> Result<Box<dyn Store>, StoreError> {
        let Self { ttl, store } = self;
        Ok(match store {
            StoreSettings::Memory { max_bytes } => Box::new(Memory::new(*ttl, *max_bytes, metrics)),
            StoreSettings::Redis(settings) => {
                Box::new(Redis::new(settings, *ttl, client, metrics)?)
            }
        })
    }
}
