//! Files that operators provide: text files, PEM files, and values reloaded when their files
//! change.

pub(crate) mod pem;
mod reload;
mod text;

pub(crate) use reload::complete;
pub use reload::{Content, Expiration, Reloaded};
pub(crate) use text::{is_blank, parse, read, read_bytes, what_is_wrong};
