//! Compression of what is sent.

use std::io::{Result, Write as _};

use flate2::{Compression, write::GzEncoder};

/// Compresses bytes with gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}
