//! How the program was called, for commands to paste.

use super::shell::word;

/// Returns how this program was called, quoted for a shell.
pub(super) fn program() -> String {
    // `cargo run` sets this variable.
    match (std::env::var_os("CARGO"), std::env::args().next()) {
        (Some(_), _) if cfg!(debug_assertions) => "cargo run --".to_owned(),
        (Some(_), _) => "cargo run --release --".to_owned(),
        (None, program) => word(program.as_deref().unwrap_or(env!("CARGO_PKG_NAME"))).into_owned(),
    }
}
