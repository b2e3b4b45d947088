//! Why a comparison cannot start.

use std::error::Error;

use crate::error_chain::with_causes;

/// Why a comparison cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub(super) String);

impl SetupError {
    /// A failure that an error and its causes describe.
    pub(super) fn of(error: &dyn Error) -> Self {
        Self(with_causes(error))
    }
}
