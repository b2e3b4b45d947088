//! Why a subcommand fails.

use std::{error::Error, fmt::Display};

use crate::{client::CallFailure, config::Problem, error_chain::with_causes};

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

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Settings(vec![problem])
    }
}

impl From<CallFailure> for Failure {
    fn from(failure: CallFailure) -> Self {
        Self::Run(failure.to_string())
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Settings(problems)
    }
}
