//! The promises of totp-facade: each test's name is one.
//!
//! Happy paths run against the embedded sandbox, faults against a scripted peer, all on loopback.

#![allow(unreachable_pub)] // one binary; what is public is public to its modules

mod support;

mod admin;
mod answers;
mod attempts;
mod audit;
#[cfg(unix)]
mod blocked_stderr;
mod callers;
mod calls;
mod chaos;
mod cli;
mod client_tls;
mod comments;
mod connections;
mod console;
mod contract;
mod create;
mod credentials;
mod dev_commands;
mod docs;
mod drain;
mod faults;
mod files;
mod floors;
mod flows;
#[cfg(target_os = "linux")] // memory is read from /proc
mod hostile;
mod idempotency;
mod idempotency_failover;
mod idempotency_redis;
mod idempotency_tls;
mod jwks;
mod jwt;
mod lifecycle;
mod logs;
mod manual;
mod metrics_calls;
mod metrics_certificates;
mod metrics_idempotency;
mod metrics_limits;
mod metrics_stytch;
mod not_sent;
mod observability;
mod reflection;
mod requests;
mod retries;
mod revocation;
mod rotation;
mod sandbox;
mod sandbox_control;
mod secrets;
mod server_certificate;
mod settings;
mod status_codes;
#[cfg(target_os = "linux")]
mod systemd;
mod tls;
mod top;
mod traces;
mod trail;
mod translation;
#[cfg(target_os = "linux")] // processes are named as Linux does
mod unix_socket;
mod unprocessed;
mod verify;
