//! See `Cargo.toml`: only the dependencies of this package matter.

fn main() {}
