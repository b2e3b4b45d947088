//! Text files. A byte order mark, as Windows editors write it, is not part of the text.
//!
//! The text may be secret, so it is zeroized on drop, and no error quotes it.

use std::{fmt, path::Path};

use zeroize::Zeroizing;

const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Reads a text file.
///
/// # Errors
///
/// If the file cannot be read, or is not UTF-8.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = read_bytes(path)?;
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(what_is_wrong(path, &"is not UTF-8")),
    }
}

/// Reads the bytes of a file that is ASCII where it matters and may have any encoding elsewhere, as
/// a PEM file.
///
/// # Errors
///
/// If the file cannot be read, or is UTF-16, which is not a superset of ASCII.
pub(crate) fn read_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if UTF_16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(what_is_wrong(path, &"is UTF-16; save it as UTF-8"));
    }
    Ok(match bytes.strip_prefix(UTF_8_MARK) {
        Some(rest) => Zeroizing::new(rest.to_vec()),
        None => bytes,
    })
}

/// Parses the text of a file. The error names the file.
///
/// # Errors
///
/// When it cannot be read, or what `parse` finds wrong with it.
pub(crate) fn parse<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    parse(&read(path)?).map_err(|error| what_is_wrong(path, &error))
}

/// Returns whether a file has nothing but blank lines and comments. Such a file was emptied on
/// purpose, whereas one that cannot be parsed is a mistake.
pub(crate) fn is_blank(text: &[u8]) -> bool {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .all(|line| line.is_empty() || line.starts_with(b"#"))
}

/// Formats an error about a file.
pub(crate) fn what_is_wrong(path: &Path, what: &dyn fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for (bytes, expected) in [
            (&b"a\r\nb"[..], Ok("a\r\nb")),
            (b"\xef\xbb\xbfa", Ok("a")),
            (b"\xef\xbb\xbf", Ok("")),
            (b"", Ok("")),
            (b"a\xef\xbb\xbf", Ok("a\u{feff}")),
            (b"\xff\xfea\0", Err("is UTF-16; save it as UTF-8")),
            (b"\xfe\xff\0a", Err("is UTF-16; save it as UTF-8")),
            (b"secret-\xff", Err("is not UTF-8")),
        ] {
            fs::write(&path, bytes).unwrap();

            match (read(&path), expected) {
                (Ok(text), Ok(expected)) => assert_eq!(*text, expected),
                (Err(error), Err(expected)) => {
                    assert!(error.ends_with(expected), "{error}");
                    assert!(!error.contains("secret"), "{error}");
                }
                (read, expected) => panic!("{read:?} is not {expected:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().starts_with("cannot read "));
    }

    #[test]
    fn a_file_is_blank_when_it_has_nothing_but_blank_lines_and_comments() {
        for (text, blank) in [
            (&b""[..], true),
            (b" \t\r\n\n", true),
            (b"# nobody\r\n  # at all", true),
            (b"a", false),
            (b"# but\na", false),
        ] {
            assert_eq!(is_blank(text), blank, "{text:?}");
        }
    }
}
