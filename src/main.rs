//! The `totp-facade` program; everything is in [`totp_facade::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Most allocations of a call are small and freed on the thread that made them, where this
/// allocator is fastest.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    totp_facade::cli::main(std::env::args_os())
}
