//! The labels of the metrics about what is limited: calls and connections.

use super::label::labels;

labels! {
    /// The limit at which a call was shed.
    pub enum ShedLimit = "limit" {
        /// The calls of the process.
        Process = "process",
        /// The calls on one connection.
        Connection = "connection",
    }

    /// Why a connection was evicted.
    pub enum EvictionReason = "reason" {
        /// A new connection needed its slot, and no call on it was ever forwarded.
        Unproven = "unproven",
        /// It was the longest idle of too many proven connections.
        Idle = "idle",
        /// It had too many stream resets.
        Resets = "resets",
    }

    /// Why a connection was refused before it could make a call.
    pub enum RefusalReason = "reason" {
        /// The TLS handshake failed.
        TlsFailed = "tls_failed",
        /// The TLS handshake took too long.
        TlsTimeout = "tls_timeout",
    }
}
