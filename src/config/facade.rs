//! The configuration of a façade, as `serve` reads it.

use std::time::SystemTime;

use super::{
    callers, idempotency, ignored, server,
    setting::Group,
    stytch, traces,
    unchecked::{FromSettings, Reader},
};
use crate::{access::Policy, connection::tls, facade};

/// A façade in front of Stytch.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub addresses: server::Addresses,
    /// Everything else.
    pub facade: facade::Settings,
    /// Variables that are set and have no effect, a sentence for each.
    pub ignored: Vec<String>,
}

impl FromSettings for Config {
    const GROUPS: &'static [&'static Group] = &[
        &stytch::PROJECT,
        &stytch::TIMEOUTS,
        &server::SERVER,
        &idempotency::IDEMPOTENCY,
        &server::SHUTDOWN,
        &callers::CALLERS,
        &traces::TRACES,
    ];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let project = stytch::Project::read(reader);
        Self::in_front_of(project, reader)
    }
}

impl Config {
    /// Reads what `serve` and `dev` have in common.
    pub(super) fn in_front_of(
        project: Option<stytch::Project>,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let stytch = stytch::read(reader, project);
        let addresses = server::addresses(reader);
        let reflection = callers::reflection(reader);
        let server = server::read(reader, reflection);
        let idempotency = idempotency::read(reader);
        let (tls, access) = callers::read(reader);
        let traces = traces::read(reader);
        let (addresses, traces) = (addresses?, traces?);
        let ignored = traces.as_ref().map(ignored::warnings).unwrap_or_default();
        let facade = facade::Settings {
            stytch: stytch?,
            idempotency: idempotency?,
            tls,
            access,
            server: server?,
            traces,
        };
        Some(Self { addresses, facade, ignored })
    }

    /// Describes who may call what, and how long the certificate is valid, for people.
    pub fn callers(&self) -> String {
        let mut text = String::new();
        if let Some(Ok(tls)) = self.facade.tls.as_ref().map(tls::Files::read) {
            if tls.not_after > SystemTime::now() {
                let end = humantime::format_rfc3339_seconds(tls.not_after);
                text += &format!("The certificate is valid until {end}.\n");
            }
            for why in tls.flaws {
                text += &format!("CLIENTS REFUSE THE CERTIFICATE: {why}.\n");
            }
        }
        let access = &self.facade.access;
        text += &match access.policy.as_deref().map(Policy::read) {
            Some(Ok(policy)) => format!("Who may call what:\n{}", policy.summary()),
            _ if access.presents_credentials() => {
                "Every identified caller may call everything.\n".into()
            }
            _ if access.users => "Every user who may open the socket may call everything.\n".into(),
            _ if self.addresses.grpc.is_local() => {
                "Callers are not identified: anyone on this machine may call everything.\n".into()
            }
            _ => "CALLERS ARE NOT IDENTIFIED: anyone who reaches the port may call everything.\n"
                .into(),
        };
        text
    }
}
