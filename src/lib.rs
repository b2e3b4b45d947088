//! A gRPC façade in front of Stytch's B2B TOTP API.

pub mod call;
pub mod proto;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod status;
pub mod stytch;
