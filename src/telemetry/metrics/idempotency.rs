//! The labels of the metrics about idempotency keys.

use super::label::labels;

labels! {
    /// What became of a call with an idempotency key.
    pub enum KeyedOutcome = "outcome" {
        /// It was executed.
        Executed = "executed",
        /// It got the recorded outcome of an earlier call.
        Replayed = "replayed",
        /// It waited for a call that was in flight, and got the outcome of that.
        Waited = "waited",
        /// An earlier call with the key may have been executed, and its outcome is lost.
        Lost = "lost",
        /// The key belongs to another request.
        KeyReused = "key_reused",
        /// The store did not answer.
        StoreFailed = "store_failed",
    }

    /// Where records are stored.
    pub enum StoreKind = "store" {
        /// In this process.
        Memory = "memory",
        /// In Redis.
        Redis = "redis",
    }

    /// What a store is asked to do.
    pub enum StoreOperation = "operation" {
        /// Claim a key, or find its record.
        Claim = "claim",
        /// Record an outcome.
        Record = "record",
        /// Withdraw a claim.
        Release = "release",
        /// Say whether it can be used.
        Probe = "probe",
    }

    /// Why a store did not do it.
    pub enum StoreErrorType = "error_type" {
        /// It did.
        None = "",
        /// It did not answer in time.
        Timeout = "timeout",
        /// There is no connection to it, or that broke.
        Connection = "connection",
        /// It refused.
        Refused = "refused",
        /// Too few replicas have acknowledged.
        Replicas = "replicas",
        /// Anything else.
        Other = "other",
    }
}
