//! `code`: what an authenticator app would show.

use std::io::{Read as _, stdin};

use serde_json::Value;
use totp_rs::{Builder, Secret};

use super::{Failure, print, usage};

/// Prints the code of the secret on standard input, which is an answer of `create` or the secret alone.
/// There is no flag for it: argument lists can be read by every user of a machine.
pub(super) fn code() -> Result<(), Failure> {
    let mut text = String::new();
    stdin().read_to_string(&mut text).map_err(|error| Failure::run(&error))?;
    let secret = match serde_json::from_str::<Value>(&text) {
        Ok(answer) => answer["secret"].as_str().unwrap_or_default().to_owned(),
        Err(_) => text.trim().to_uppercase(),
    };
    let no_secret = || usage("standard input", &"neither base32 nor an answer with a secret");
    let key = Secret::try_from_base32(&secret).map_err(|_| no_secret())?;
    // SHA-1, six digits and 30 seconds, which are Stytch's too.
    let totp = Builder::new().with_secret(key).build().map_err(|_| no_secret())?;
    print(&format!("{}\n", totp.generate_current()));
    Ok(())
}
