//! The credentials for Stytch's API: the project's id and secret, which may be rotated.

use std::path::Path;

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::files::{self, Content};

/// The project's credentials, ready to be sent as HTTP Basic.
#[derive(Debug)]
pub struct Credentials {
    secret: SecretString,
    authorization: HeaderValue,
}

impl Content for Credentials {}

impl Credentials {
    /// Creates the credentials of a project.
    pub fn new(project_id: &str, secret: SecretString) -> Self {
        let plain = Zeroizing::new(format!("{project_id}:{}", secret.expose_secret()));
        let basic = data_encoding::BASE64.encode(plain.as_bytes());
        let basic = Zeroizing::new(format!("Basic {basic}"));
        let mut authorization = HeaderValue::from_str(&basic).expect("base64 is a header value");
        authorization.set_sensitive(true);
        Self { secret, authorization }
    }

    /// Returns the secret.
    pub(crate) fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// Returns everything that must not appear in an error text: the secret, the HTTP Basic token,
    /// and the base64 of either at any offset within the encoded text.
    pub(super) fn spellings(&self) -> Vec<Zeroizing<String>> {
        let basic = self.authorization.to_str().expect("base64 is text");
        let token = basic.strip_prefix("Basic ").expect("constructed with this prefix");
        let mut spellings = Vec::new();
        for plain in [self.secret.expose_secret(), token] {
            spellings.push(Zeroizing::new(plain.to_owned()));
            for before in 0..3 {
                let encoded = within_base64(plain, before);
                spellings.push(Zeroizing::new(encoded.replace('+', "-").replace('/', "_")));
                spellings.push(encoded);
            }
        }
        spellings
    }

    /// Returns the value of the `authorization` header.
    pub(super) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }
}

/// Returns the base64 characters that encode `plain` alone, within a text that has `plain` at an
/// offset of `before` bytes modulo 3.
fn within_base64(plain: &str, before: usize) -> Zeroizing<String> {
    let padded = Zeroizing::new(["\0".repeat(before).as_str(), plain].concat());
    let mut encoded = Zeroizing::new(data_encoding::BASE64_NOPAD.encode(padded.as_bytes()));
    // A character encodes six bits. The last one may include bits of the text that follows.
    let whole = padded.len() * 8 / 6;
    encoded.truncate(whole);
    encoded.drain(..(before * 8).div_ceil(6));
    encoded
}

/// Reads the secret from a file, without trailing line breaks.
///
/// # Errors
///
/// Says what is wrong without quoting the secret.
pub fn read_secret(path: &Path) -> Result<SecretString, String> {
    check_secret(files::read(path)?.trim_end_matches(['\r', '\n']).into())
}

/// Checks that a secret can be sent, and returns it.
///
/// # Errors
///
/// Says what is wrong without quoting the secret.
pub fn check_secret(secret: SecretString) -> Result<SecretString, String> {
    let text = secret.expose_secret();
    if text.is_empty() {
        Err("is empty".into())
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("must be visible ASCII without blanks".into())
    } else {
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL};

    use super::*;

    #[test]
    fn base64_of_a_text_with_the_secret_in_it_holds_one_of_the_spellings() {
        let secret = "secret-test-?>~0123456789";
        let credentials = Credentials::new("project-test-1", secret.into());
        let spellings = credentials.spellings();
        let basic = BASE64.encode(format!("project-test-1:{secret}").as_bytes());

        for plain in [secret, basic.as_str()] {
            assert!(spellings.iter().any(|it| it.as_str() == plain));
            for (before, after) in [("", ""), ("a", "b"), ("Basic ", "\n"), ("1234567", "12")] {
                let text = [before, plain, after].concat();
                for encoded in [BASE64.encode(text.as_bytes()), BASE64URL.encode(text.as_bytes())] {
                    let shown = spellings.iter().any(|it| encoded.contains(it.as_str()));
                    assert!(shown, "{before:?} {plain:?} {after:?}");
                }
            }
        }
        // None is so short that other texts might contain it by chance.
        assert!(spellings.iter().all(|it| it.len() >= secret.len()));
    }
}
