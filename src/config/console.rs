//! The console: where it listens, and which façade it calls.

use std::net::SocketAddr;

use super::{
    client::{CONNECTION, CREDENTIALS, ClientConfig},
    kind::{Kind, addr},
    setting::{Group, Setting, settings},
    unchecked::{FromSettings, Reader},
};
use crate::connection::tls::Files;

settings! { CONSOLE "Console"
    /// Address of loopback for the console to listen on. Port 0 takes a free port and prints it.
    CONSOLE_ADDR: SocketAddr = Setting::new("TOTP_FACADE_CONSOLE_ADDR", LOOPBACK)
        .derived("127.0.0.1:8091; under dev, a free port of 127.0.0.1");
}

/// Whoever reaches the console makes calls with its credentials.
const LOOPBACK: Kind<SocketAddr> = Kind::text("IP:PORT", |text| {
    let addr = addr(text, "127.0.0.1:8091")?;
    match addr.ip().is_loopback() {
        true => Ok(addr),
        false => Err(format!("{text:?} is not on loopback, and the console must be")),
    }
});

/// Where the console listens, and the façade that it calls.
// No `Debug`: `ClientConfig` has none.
#[allow(missing_debug_implementations)]
pub struct ConsoleConfig {
    /// The address to listen on.
    pub addr: SocketAddr,
    /// The façade.
    pub client: ClientConfig,
}

impl FromSettings for ConsoleConfig {
    const GROUPS: &'static [&'static Group] = &[&CONSOLE, &CONNECTION, &CREDENTIALS];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (addr, client) = (addr_or(reader, 8091), ClientConfig::read(reader));
        Some(Self { addr: addr?, client: client? })
    }
}

impl ConsoleConfig {
    /// Reads the configuration of the console beside a façade of this process, whose files of TLS
    /// these are.
    pub(super) fn beside(facade: Option<&Files>, reader: &mut Reader<'_>) -> Option<Self> {
        let addr = addr_or(reader, 0);
        let client = ClientConfig::beside(facade, reader);
        Some(Self { addr: addr?, client })
    }
}

/// Returns the address to listen on: without one, this port of loopback.
fn addr_or(reader: &mut Reader<'_>, port: u16) -> Option<SocketAddr> {
    reader.get_or(&CONSOLE_ADDR, || Some(([127, 0, 0, 1], port).into()))
}
