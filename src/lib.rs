//! A gRPC façade in front of Stytch's B2B TOTP API.

pub mod proto;
pub mod sandbox;
pub mod status;
pub mod stytch;
