//! The settings of the program: flags and variables become a checked configuration.
//!
//! Each setting is declared once, in the file of its subject. To add one, declare it with
//! `settings!` and read it with a [`Reader`]. All settings are checked together, so that an
//! operator sees every mistake at once.

mod callers;
mod client;
mod console;
mod facade;
mod idempotency;
mod ignored;
mod kind;
mod logs;
mod page;
mod sandbox;
mod server;
mod setting;
mod stytch;
mod traces;
mod unchecked;
mod verify;

pub use client::{ClientConfig, ClientFiles, MAX_DEADLINE, address};
pub use console::ConsoleConfig;
pub use facade::Config;
pub use logs::LogConfig;
pub use page::{all, page, secrets_help};
pub use sandbox::{DevConfig, SandboxConfig, sandbox_url};
pub use server::Addresses;
pub use setting::{About, Group};
pub use unchecked::{FromSettings, Problem, Reader, Unchecked};
pub use verify::VerifyConfig;
