//! A gRPC façade in front of Stytch's B2B TOTP API.
//!
//! # Layout
//!
//! A `Create` call passes, in this order: [`server`] (admission, deadline, panics, and by [`access`] the
//! caller), [`service`] (check, call, answer), for a call with a key [`idempotency`], [`stytch`] (the HTTP exchange), and only
//! on failure [`status`], which decides what the caller is told. The messages of [`proto`] are both what
//! the caller sends and what Stytch reads.
//!
//! Beside that path: [`config`] and [`cli`] start things, [`telemetry`], [`metrics`] and [`audit`] report on
//! them, and [`sandbox`] stands in for Stytch without sharing a line with its client.

pub mod access;
mod atomic;
pub mod audit;
pub mod call;
pub mod cli;
pub mod config;
pub mod connection;
mod error_chain;
pub mod facade;
pub mod files;
mod http_client;
pub mod idempotency;
mod identity;
mod jitter;
pub mod proto;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod status;
pub mod stytch;
pub mod telemetry;
