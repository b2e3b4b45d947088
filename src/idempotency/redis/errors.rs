//! What an error of Redis means for its connection and its command.

use std::io;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{telemetry::metrics::StoreErrorType, tls_failure::TlsFailure};

/// The setting of the authorities to trust.
const CA_SETTING: &str = "TOTP_FACADE_IDEMPOTENCY_CA_FILE";

/// Adds to the error of an attempt to connect what to do if TLS has failed. For a cluster, the
/// error has only the text of its cause.
pub(super) fn explain(error: RedisError) -> RedisError {
    let failure = TlsFailure::of(&error).or_else(|| TlsFailure::quoted_in(&error.to_string()));
    match failure {
        None => error,
        Some(failure) => {
            let text = format!("{error}; {}", failure.explain(CA_SETTING));
            io::Error::new(io::ErrorKind::InvalidData, text).into()
        }
    }
}

/// Whether a new connection may succeed where the one that failed did not.
pub(super) fn needs_reconnect(error: &RedisError) -> bool {
    match error.kind() {
        // The server rejected the command. While it loads its data or is out of memory, another
        // connection to it changes nothing.
        ErrorKind::Server(_) | ErrorKind::Extension => is_from_replica(error),
        ErrorKind::Client | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

/// Whether to retry at once. Only for commands that may run twice.
pub(super) fn is_retryable(error: &RedisError) -> bool {
    error.is_connection_dropped() || is_from_replica(error)
}

/// Returns what metrics call the error.
pub(super) fn error_type(error: &RedisError) -> StoreErrorType {
    match error.kind() {
        // The only errors that this program makes itself: see `replicas.rs`.
        ErrorKind::Client => StoreErrorType::Replicas,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => {
            StoreErrorType::Refused
        }
        _ if error.is_timeout() => StoreErrorType::Timeout,
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => StoreErrorType::Connection,
        _ => StoreErrorType::Other,
    }
}

/// Whether the server rejected a write because it is, or has become, a replica.
fn is_from_replica(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => true,
        // Before version 7, Redis wraps the error of a script: `ERR Error running script …
        // -READONLY …`.
        ErrorKind::Server(_) | ErrorKind::Extension => {
            let text = error.to_string();
            text.contains("-READONLY") || text.contains("-MASTERDOWN")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use redis::{RedisResult, ServerError, Value};

    use super::*;

    fn answered(line: &str) -> RedisError {
        let error: RedisResult<ServerError> = match redis::parse_redis_value(line.as_bytes()) {
            Ok(Value::ServerError(error)) => Ok(error),
            other => panic!("{other:?}"),
        };
        error.unwrap().into()
    }

    #[test]
    fn a_server_that_takes_no_writes_costs_the_connection_and_one_that_is_busy_does_not() {
        for (line, is_a_replica) in [
            (
                "-READONLY You can't write against a read only replica. script: 0ab, on @user_script:2.\r\n",
                true,
            ),
            (
                "-ERR Error running script (call to f_0ab): @user_script:2: @user_script: 2: -READONLY You can't \
              write against a read only replica.\r\n",
                true,
            ),
            (
                "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
                true,
            ),
            ("-LOADING Redis is loading the dataset in memory\r\n", false),
            ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", false),
            ("-BUSY Redis is busy running a script.\r\n", false),
            ("-NOPERM this user has no permissions to run the 'eval' command\r\n", false),
            ("-ERR unknown command 'EVAL'\r\n", false),
        ] {
            let error = answered(line);

            assert_eq!(needs_reconnect(&error), is_a_replica, "{line}");
            assert_eq!(is_retryable(&error), is_a_replica, "{line}");
        }
    }
}
