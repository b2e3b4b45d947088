//! The connection of a subcommand that calls a façade.

use super::{failure::Failure, output::say};
use crate::{client::Connection, config::ClientConfig};

/// Prepares calls to a façade. Warns if they would show the token to the network.
pub(super) fn connect(config: ClientConfig) -> Result<Connection, Failure> {
    if config.exposes_token() {
        let url = &config.url;
        say(&format!("warning: TOTP_FACADE_TOKEN travels in the clear to {url}: use https://\n"));
    }
    Ok(Connection::new(config)?)
}
