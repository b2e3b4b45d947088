//! Why a subcommand fails.

use std::{error::Error, fmt::Display};

use crate::config::Problem;

/// The reason why a subcommand ends with an exit code other than 0.
#[derive(Debug)]
pub(super) enum Failure {
    /// Flags or settings that cannot be used.
    Settings(Vec<Problem>),
    /// A failure at run time, described for the user.
    Run(String),
}

impl Failure {
    /// A failure at run time, described by an error and its causes.
    pub(super) fn run(error: &dyn Error) -> Self {
        Self::Run(with_causes(error))
    }

    /// A flag or setting that cannot be used, and why.
    pub(super) fn usage(setting: &'static str, what: impl Display) -> Self {
        Self::Settings(vec![Problem { setting, what: what.to_string() }])
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Settings(problems)
    }
}

/// Formats an error with its causes.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Some errors already include the text of their cause.
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
