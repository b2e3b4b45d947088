//! The `totp-facade` program; everything is in [`totp_facade::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    totp_facade::cli::main(std::env::args_os())
}
