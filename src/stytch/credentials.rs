//! As whom Stytch is called: the project's user name and password, which may be rotated.

use std::path::Path;

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::{reload::Content, text_file};

/// A user name and a password.
#[derive(Debug)]
pub struct Credentials {
    secret: SecretString,
    authorization: HeaderValue,
}

impl Content for Credentials {}

impl Credentials {
    /// Those of a project.
    pub fn new(project_id: &str, secret: SecretString) -> Self {
        let plain = Zeroizing::new(format!("{project_id}:{}", secret.expose_secret()));
        let basic = data_encoding::BASE64.encode(plain.as_bytes());
        let basic = Zeroizing::new(format!("Basic {basic}"));
        let mut authorization = HeaderValue::from_str(&basic).expect("base64 is a header value");
        authorization.set_sensitive(true);
        Self { secret, authorization }
    }

    /// The password.
    pub(crate) fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// HTTP Basic.
    pub(super) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }
}

/// The secret in a file, without the end of its line.
///
/// # Errors
///
/// What is wrong with it, in words that do not quote it.
pub fn read_secret(path: &Path) -> Result<SecretString, String> {
    check_secret(text_file::read(path)?.trim_end_matches(['\r', '\n']).into())
}

/// A secret that can be sent.
///
/// # Errors
///
/// What is wrong with it, in words that do not quote it.
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
