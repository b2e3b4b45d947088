//! `verify`: compares the sandbox with Stytch itself.

use clap::Args;

use super::{failure::Failure, output::print, runtime, signals::stop_signal};
use crate::{
    config::{Problem, Unchecked, VerifyConfig},
    verify,
};

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    settings: Unchecked<VerifyConfig>,

    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.settings.problems()
    }
}

/// Prints the report. Any difference is a failure, and so is a run that did not reach its end.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let config = args.settings.check()?;
    let report = runtime::wait_for(async {
        let stop = stop_signal()?;
        verify::verify(config, stop).await.map_err(|error| Failure::run(&error))
    })??;
    if args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| Failure::run(&error))?;
        print(&format!("{json}\n"))?;
    } else {
        print(&report.to_string())?;
    }
    match (&report.failure, report.differences.len()) {
        _ if report.is_clean() => Ok(()),
        (Some(failure), _) => Err(Failure::Run(failure.clone())),
        (None, 0) => Err(Failure::Run("a TOTP that the run made may be left".to_owned())),
        (None, 1) => Err(Failure::Run("the sandbox differs from Stytch in one point".to_owned())),
        (None, count) => {
            Err(Failure::Run(format!("the sandbox differs from Stytch in {count} points")))
        }
    }
}
