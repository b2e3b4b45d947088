//! The RPCs that the server serves: those of the contract, health and reflection.

use super::generated::METHODS;

/// An RPC that the server serves, or [`Rpc::OTHER`]. Its names are the server's own, never those of
/// a request, which may contain anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc(usize);

/// The names and types of the RPCs that do not belong to the contract.
const MORE: [(&str, &str); 5] = [
    ("grpc.health.v1.Health/Check", "unary"),
    ("grpc.health.v1.Health/Watch", "server_stream"),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "bidi_stream"),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "bidi_stream"),
    ("_OTHER", "unary"),
];

impl Rpc {
    /// Health checks.
    pub const HEALTH_CHECK: Self = Self(METHODS.len());
    /// Health watches.
    pub const HEALTH_WATCH: Self = Self(METHODS.len() + 1);
    /// Reflection, in both of its versions.
    pub const REFLECTION: [Self; 2] = [Self(METHODS.len() + 2), Self(METHODS.len() + 3)];
    /// Every RPC that the server does not serve.
    pub const OTHER: Self = Self(METHODS.len() + 4);

    /// How many RPCs there are, [`Rpc::OTHER`] included.
    pub const COUNT: usize = METHODS.len() + MORE.len();

    /// Returns the RPC with this full name.
    pub fn named(name: &str) -> Self {
        Self::all().find(|rpc| rpc.name() == name).unwrap_or(Self::OTHER)
    }

    /// Returns all RPCs, those of the contract first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Returns the place of this RPC among [`Rpc::all`].
    pub fn index(self) -> usize {
        self.0
    }

    /// Whether the RPC belongs to the contract.
    pub fn is_of_contract(self) -> bool {
        self.0 < METHODS.len()
    }

    /// Whether the RPC belongs to the contract and changes nothing.
    pub fn only_reads(self) -> bool {
        METHODS.get(self.0).is_some_and(|method| method.only_reads)
    }

    /// Returns the full name, as in `stytch.b2b.totp.v1.TotpService/Create`.
    pub fn name(self) -> &'static str {
        match self.0.checked_sub(METHODS.len()) {
            None => METHODS[self.0].name,
            Some(more) => MORE[more].0,
        }
    }

    /// Returns the name of the service and that of the method. For [`Rpc::OTHER`], both are its
    /// name.
    pub fn service_and_method(self) -> (&'static str, &'static str) {
        let name = self.name();
        name.split_once('/').unwrap_or((name, name))
    }

    /// Whether the response is a stream.
    pub fn is_stream(self) -> bool {
        self.kind() != "unary"
    }

    /// Returns the type: `unary`, `server_stream` or `bidi_stream`.
    pub fn kind(self) -> &'static str {
        match self.0.checked_sub(METHODS.len()) {
            None => "unary",
            Some(more) => MORE[more].1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_is_found_by_its_name_and_no_other_name_is_one() {
        for rpc in Rpc::all() {
            assert_eq!(Rpc::named(rpc.name()), rpc);
        }
        for name in ["", "/", "_OTHER", "stytch.b2b.totp.v1.TotpService/create", "Create"] {
            assert_eq!(Rpc::named(name), Rpc::OTHER, "{name}");
        }
        let [v1, v1alpha] = Rpc::REFLECTION;
        assert!(v1.name().contains(".v1.") && v1alpha.name().contains(".v1alpha."));
        assert_eq!(Rpc::HEALTH_WATCH.service_and_method(), ("grpc.health.v1.Health", "Watch"));
        assert_eq!(Rpc::OTHER.service_and_method(), ("_OTHER", "_OTHER"));
    }
}
