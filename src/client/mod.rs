//! The client of a façade: the connection, the RPCs of the contract, and why a call failed.
//!
//! The command line and the console make their calls here. Everything follows from the contract: an
//! RPC that is added to `proto/` needs no change.

mod connection;
mod failure;
mod report;
mod rpc;

pub use crate::config::MAX_DEADLINE;
pub use connection::Connection;
pub use failure::CallFailure;
pub use report::Report;
pub use rpc::{Answer, Options, RPCS, Rpc};
