//! The gRPC services, one file for each, and what they share: [`Handler`], which validates a
//! request, calls Stytch and responds.

mod body;
mod codec;
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated;
mod handler;
mod recovery_codes;
mod totp;
mod validate;

use tonic::{server::NamedService, service::Routes};

pub use body::WholeBody;
pub use codec::Codec;
use generated::{
    recovery_codes_service_server::RecoveryCodesServiceServer,
    totp_service_server::TotpServiceServer,
};
pub use handler::Handler;
pub use recovery_codes::RecoveryCodes;
pub use totp::Totp;
pub use validate::{Validate, Violations};

/// The largest request message, in bytes. Most take some hundred; a session JWT takes some
/// thousand.
pub const MAX_REQUEST: usize = 16 * 1024;

/// The services of the contract, with their names for health checks.
#[derive(Clone, Debug)]
pub struct Services {
    /// Routes each call to its service.
    pub routes: Routes,
    /// The full names of the services behind `routes`.
    pub names: Vec<&'static str>,
}

impl Services {
    /// Builds all services on top of one handler.
    pub fn new(handler: Handler) -> Self {
        let totp = TotpServiceServer::new(Totp::new(handler.clone()))
            .max_decoding_message_size(MAX_REQUEST);
        let recovery_codes = RecoveryCodesServiceServer::new(RecoveryCodes::new(handler))
            .max_decoding_message_size(MAX_REQUEST);
        Self {
            names: vec![name_of(&totp), name_of(&recovery_codes)],
            routes: Routes::new(totp).add_service(recovery_codes),
        }
    }
}

fn name_of<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}
