//! What the console works with.

use std::time::Duration;

use crate::{
    client::Connection,
    sandbox::{Authenticator, Seed},
};

/// What the console works with.
#[allow(missing_debug_implementations)] // `Authenticator` has none.
pub struct Console {
    /// The façade that it calls.
    pub connection: Connection,
    /// What the page has to know.
    pub settings: Settings,
    /// The authenticator apps of the sandbox's members, under `dev`.
    pub authenticator: Option<Authenticator>,
}

/// What the page has to know. No secret is among it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time for a call, unless the user of the page chooses another.
    pub deadline: Duration,
    /// Whether calls carry a bearer token.
    pub has_token: bool,
    /// Whether calls present a client certificate.
    pub has_certificate: bool,
    /// How the program is called in a shell, quoted for it.
    pub program: String,
    /// What the sandbox behind the façade began with, under `dev`.
    pub seed: Option<Seed>,
}
