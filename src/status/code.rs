//! Which gRPC status codes mean that a service failed.

use tonic::Code;

/// Whether a code means that this service or Stytch failed, rather than that it refused the
/// request.
pub fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Internal
            | Code::Unknown
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::DataLoss
    )
}
