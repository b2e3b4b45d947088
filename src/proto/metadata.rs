//! The names of the metadata that are part of the contract.

/// Request: the idempotency key of a call that changes something.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Response: `true` when the response is the one to an earlier call with the same key.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// Response: Stytch's identifier of the call, on success and failure.
pub const STYTCH_REQUEST_ID: &str = "stytch-request-id";

/// Response: how long retrying gRPC clients should wait, in milliseconds; -1 for never.
pub const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Request: how many attempts of the call gRPC's library has made before. Attempts that certainly
/// never left the client are not counted.
pub const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";
