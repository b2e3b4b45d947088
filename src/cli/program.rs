//! How the program was called, for commands to paste.

/// Returns how this program was called.
pub(super) fn program() -> String {
    // `cargo run` sets this variable.
    match (std::env::var_os("CARGO"), std::env::args().next()) {
        (Some(_), _) if cfg!(debug_assertions) => "cargo run --".to_owned(),
        (Some(_), _) => "cargo run --release --".to_owned(),
        (None, program) => program.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned()),
    }
}
