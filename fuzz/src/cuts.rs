//! Bytes that arrive in pieces, as the input of a target.

/// Splits an input into the bytes to read and the sizes of the pieces in which they arrive: a count
/// up to 15, as many sizes, then the bytes.
pub fn split(input: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let (count, rest) = input.split_first()?;
    let (sizes, bytes) = rest.split_at_checked(usize::from(count % 16))?;
    Some((sizes.iter().copied().map(usize::from).collect(), bytes))
}

/// Cuts `bytes` into pieces of these sizes, and the rest into one. A piece may be empty.
pub fn cut<'a>(sizes: &[usize], mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes {
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}
