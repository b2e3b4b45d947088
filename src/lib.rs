//! A gRPC façade in front of Stytch's B2B TOTP API.
//!
//! # Layout
//!
//! A module imports only from modules below its own, which a test checks (`tests/it/floors.rs`).
//! From the ground up:
//!
//! - [`address`], `atomic`, `cpu_time`, `error_chain`, `gzip`, `identity`, `jitter`,
//!   `per_runtime`: small types and functions that others share
//! - [`proto`]: the messages of the contract, which are also the JSON bodies of Stytch's API
//! - [`translate`]: JSON text into encoded messages, in one pass
//! - [`telemetry`]: logs, metrics, and the log record of each call
//! - `tls_failure`: why a TLS handshake with a server failed, in plain words
//! - [`files`]: files that are reloaded when they change
//! - `http_client`: HTTP clients for Stytch and for JWKS URLs
//! - [`otlp`]: sends traces to a receiver
//! - [`sandbox`]: a stand-in for Stytch, which shares no code with its client
//! - [`connection`]: accepted connections: worker threads, slots, TLS, stream resets, close
//! - `http_server`: plain HTTP, for the admin port and the console
//! - [`stytch`]: the client for Stytch: retries, circuit breaker, errors
//! - [`access`]: authenticates callers, and decides what they may do
//! - [`status`]: the table of all failures, and their gRPC statuses
//! - [`call`]: calls in flight: admission, and completion after their caller has gone
//! - [`audit`]: the audit trail
//! - [`idempotency`]: makes calls with the same key once, and replays their outcome
//! - [`service`]: the gRPC services: validate, call Stytch, respond
//! - [`server`]: the ports, what surrounds every call, health, reflection, drain
//! - [`facade`]: builds a server from its settings
//! - [`config`]: flags and environment variables, checked
//! - [`client`]: a client of a façade, for the command line and the console
//! - [`console`]: a page from which a developer tries every call
//! - [`verify`]: compares the sandbox with Stytch itself
//! - [`cli`]: the subcommands
//!
//! # The path of a call
//!
//! 1. [`connection`] accepts the connection and performs the TLS handshake.
//! 2. [`server`] checks that the request is gRPC and reads its deadline, [`access`] authenticates
//!    and authorizes the caller, and [`call`] admits the call or sheds it.
//! 3. [`service`] validates the request. With an idempotency key, [`idempotency`] claims the key,
//!    or replays the outcome of the call that did.
//! 4. [`stytch`] sends the request, and [`translate`] turns the response from JSON text into the
//!    bytes of the message.
//! 5. [`audit`] writes the outcome, if the call was a mutating one.
//! 6. Only if the call failed, [`status`] finds its row of the table and encodes the status.
//!
//! Once sent, a mutating call runs to completion in [`call`], even if its caller goes away.

pub mod access;
pub mod address;
mod atomic;
pub mod audit;
pub mod call;
pub mod cli;
pub mod client;
pub mod config;
pub mod connection;
pub mod console;
#[cfg(test)]
mod cpu_time;
mod error_chain;
pub mod facade;
pub mod files;
mod gzip;
mod http_client;
mod http_server;
pub mod idempotency;
mod identity;
mod jitter;
pub mod otlp;
mod per_runtime;
pub mod proto;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod status;
pub mod stytch;
pub mod telemetry;
mod tls_failure;
pub mod translate;
pub mod verify;
