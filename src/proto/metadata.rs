//! The names of the metadata entries that are part of the contract.

/// Request: the idempotency key of a call that changes something.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Response: `true` when the response is the one to an earlier call with the same key.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// Response: Stytch's id of the call, on success and failure.
pub const STYTCH_REQUEST_ID: &str = "stytch-request-id";

/// Response: how long a gRPC client should wait before it retries, in milliseconds; -1 forbids a
/// retry.
pub const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Request: the number of earlier attempts that the caller's gRPC library has made. Attempts that
/// certainly never left the client do not count.
pub const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";
