//! Writes results to standard output or to files, and everything else to standard error.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use super::failure::Failure;
use crate::telemetry;

/// Writes a result to standard output. A reader that has closed its end is not a failure; a result
/// that is lost for any other reason is one.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output in the same way.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a file, and creates its folder.
pub(super) fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|error| {
        let why = if folder.is_file() { "it is a file".to_owned() } else { error.to_string() };
        Failure::Run(format!("cannot create the folder {}: {why}", folder.display()))
    })?;
    fs::write(path, content)
        .map_err(|error| Failure::Run(format!("cannot write {}: {error}", path.display())))
}

/// Writes lines to standard error after what is logged, and ignores it when that is not possible.
/// Does not wait for whoever reads it: [`telemetry::flush`] does, for a while.
pub(super) fn say(text: &str) {
    telemetry::say(text);
}
