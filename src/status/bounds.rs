//! Size limits of a status. gRPC's C core and Java reject more than 8 KiB of metadata, and then
//! lose the whole status. So all trailers together stay within [`MAX_TRAILERS`], whatever Stytch
//! sent.

/// The largest size of a response's trailers, in bytes as HTTP/2 counts them.
pub const MAX_TRAILERS: usize = 4096;
/// Reserved for what else may be sent with them: `idempotent-replayed`, and `content-type` and
/// `date`, because an error without a body is sent in the headers.
pub(super) const RESERVED: usize = 256;

// The largest size of each part, in bytes. They may add up to more than MAX_TRAILERS; `encode.rs`
// limits the whole.
pub(super) const MAX_MESSAGE: usize = 300;
pub(super) const MAX_ID: usize = 128;
pub(super) const MAX_FIELD: usize = 64;
pub(super) const MAX_DESCRIPTION: usize = 160;
/// The longest `ErrorInfo.reason` that its specification allows.
pub(super) const MAX_REASON: usize = 63;
/// The most violations that a status lists.
pub const MAX_VIOLATIONS: usize = 16;

/// Returns at most `max` bytes of `text`, without splitting a character.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
