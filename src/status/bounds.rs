//! The bounds on a status. gRPC's C core and Java refuse more than 8 KiB of metadata and lose the whole
//! status beyond that, so all trailers together stay under [`MAX_TRAILERS`], whatever Stytch sent.

/// The most that the trailers of one response may weigh, in bytes as HTTP/2 counts them.
pub const MAX_TRAILERS: usize = 4096;
/// What else may come with them, by the same count: `idempotent-replayed`, and `content-type` and
/// `date`, since a refusal sends its status in the headers.
pub(super) const RESERVED: usize = 256;

// What a part may take, in bytes. Whatever they add up to, `encode.rs` keeps the whole below MAX_TRAILERS.
pub(super) const MAX_MESSAGE: usize = 300;
pub(super) const MAX_ID: usize = 128;
pub(super) const MAX_FIELD: usize = 64;
pub(super) const MAX_DESCRIPTION: usize = 160;
/// The longest `ErrorInfo.reason`, as its specification says.
pub(super) const MAX_REASON: usize = 63;
/// How many violations are listed at most.
pub const MAX_VIOLATIONS: usize = 16;

/// At most `max` bytes of `text`, whole characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
