//! The exit codes of the program.

/// A bad flag or setting, as in BSD's `sysexits.h`.
pub(super) const USAGE: u8 = 64;

/// A failure at run time.
pub(super) const FAILURE: u8 = 1;

/// Each exit code and its meaning, for the man pages and `docs/operations.md`.
pub(super) const CODES: [(u8, &str); 3] = [
    (0, "a clean drain; for client subcommands, the call succeeded"),
    (
        FAILURE,
        "something failed at run time: a port was taken, the drain ran out of time, a second signal \
         came; for client subcommands, the call failed",
    ),
    (USAGE, "a bad flag or setting"),
];

/// Returns the rows of the table of `docs/operations.md`.
pub fn table() -> String {
    CODES.iter().map(|(code, meaning)| format!("| {code} | {meaning} |\n")).collect()
}
