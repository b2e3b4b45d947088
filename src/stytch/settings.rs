//! The settings of the client, and what can be wrong with them.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;
use secrecy::SecretString;

/// How to reach Stytch, and with which credentials.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The base URL of the API. Endpoint paths are appended to its path.
    pub base_url: Url,
    /// The project id, sent as the user name.
    pub project_id: String,
    /// The project's secret, sent as the password.
    pub secret: SecretString,
    /// The file that holds the secret, reloaded when it changes.
    pub secret_file: Option<PathBuf>,
    /// A PEM file of certificate authorities to trust besides the system's, reloaded when it
    /// changes.
    pub ca_file: Option<PathBuf>,
    /// The limit for a whole call, retries included.
    pub timeout: Duration,
    /// The limit for establishing a connection, within `timeout`.
    pub connect_timeout: Duration,
    /// How long to use a connection, give or take a tenth; zero means without limit.
    pub max_connection_age: Duration,
}

/// Why a client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The secret file cannot be used.
    #[error("the Stytch secret: {0}")]
    Secret(String),
    /// The CA file or the system's certificate store cannot be used.
    #[error("cannot prepare calls to Stytch: {0}")]
    Http(String),
}
