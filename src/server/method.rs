//! Which method a request calls.

use http::Request;

use crate::proto::Rpc;

const HEALTH_PREFIX: &str = "grpc.health.v1.Health/";

/// A method, by how its calls are handled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    HealthCheck,
    HealthWatch,
    /// Server reflection, a stream in either of its versions.
    Reflection(Rpc),
    /// A method of the contract.
    Contract(Rpc),
    /// A method that does not exist. The health service answers that without authentication.
    Unknown {
        of_health: bool,
    },
}

impl Method {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let name = request.uri().path().strip_prefix('/').unwrap_or_default();
        match Rpc::named(name) {
            Rpc::HEALTH_CHECK => Self::HealthCheck,
            Rpc::HEALTH_WATCH => Self::HealthWatch,
            Rpc::OTHER => Self::Unknown { of_health: name.starts_with(HEALTH_PREFIX) },
            rpc if rpc.is_of_contract() => Self::Contract(rpc),
            rpc => Self::Reflection(rpc),
        }
    }

    /// Returns the RPC.
    pub(super) fn rpc(self) -> Rpc {
        match self {
            Self::HealthCheck => Rpc::HEALTH_CHECK,
            Self::HealthWatch => Rpc::HEALTH_WATCH,
            Self::Reflection(rpc) | Self::Contract(rpc) => rpc,
            Self::Unknown { .. } => Rpc::OTHER,
        }
    }

    /// Returns the full name, or that of [`Rpc::OTHER`] for an unknown method.
    pub(super) fn name(self) -> &'static str {
        self.rpc().name()
    }
}
