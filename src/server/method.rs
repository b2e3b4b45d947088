//! Which method a request calls.

use http::Request;

use crate::proto;

const HEALTH_CHECK: &str = "grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "grpc.health.v1.Health/Watch";
const HEALTH_PREFIX: &str = "grpc.health.v1.Health/";

const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The name of every unknown method, in logs and for authorization.
pub(super) const OTHER: &str = "_OTHER";

/// A method, by how its calls are handled. Names come from the contract, never from the request,
/// which may contain anything.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    HealthCheck,
    HealthWatch,
    /// Server reflection, a stream in either of its versions.
    Reflection(&'static str),
    /// A method of the contract, by its full name.
    Contract(&'static str),
    /// A method that does not exist. The health service answers that without authentication.
    Unknown {
        of_health: bool,
    },
}

impl Method {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let name = request.uri().path().strip_prefix('/').unwrap_or_default();
        let reflection = || REFLECTION.into_iter().find(|known| *known == name);
        match name {
            HEALTH_CHECK => Self::HealthCheck,
            HEALTH_WATCH => Self::HealthWatch,
            _ => proto::method(name)
                .map(Self::Contract)
                .or_else(|| reflection().map(Self::Reflection))
                .unwrap_or(Self::Unknown { of_health: name.starts_with(HEALTH_PREFIX) }),
        }
    }

    /// Returns the full name, or [`OTHER`] for an unknown method.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HealthCheck => HEALTH_CHECK,
            Self::HealthWatch => HEALTH_WATCH,
            Self::Reflection(name) | Self::Contract(name) => name,
            Self::Unknown { .. } => OTHER,
        }
    }
}
