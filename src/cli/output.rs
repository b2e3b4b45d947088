//! Writes results to standard output, and everything else to standard error.

use std::io::{self, Write as _};

use super::failure::Failure;

/// Writes a result to standard output. A reader that has closed its end is not a failure; a result
/// that is lost for any other reason is one.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes to standard error, and ignores it when that is not possible.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
