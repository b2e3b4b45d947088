//! How to reach Stytch.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;
use secrecy::SecretString;

use super::{
    kind::{AUTHORITIES, FILE, Kind, TIMEOUT},
    server::MAX_CONNECTION_AGE,
    setting::{Setting, settings},
    unchecked::Reader,
};
use crate::{http_client::is_confidential, stytch};

/// The connect timeout, unless the whole call has less time.
const CONNECT: Duration = Duration::from_secs(2);

settings! { PROJECT "Stytch"
    /// Project id. It decides between Stytch's live API (`project-live-…`) and its test API
    /// (`project-test-…`); any other needs STYTCH_BASE_URL.
    PROJECT_ID: String = Setting::new("STYTCH_PROJECT_ID", Kind::text("ID", project_id)).required();

    /// Project secret.
    SECRET: SecretString =
        Setting::new("STYTCH_SECRET", Kind::secret(|text| stytch::check_secret(text.into())))
            .derived("required, unless STYTCH_SECRET_FILE is set");

    /// File with the project secret, instead of the variable STYTCH_SECRET. Read again when it
    /// changes.
    SECRET_FILE: PathBuf = Setting::new("STYTCH_SECRET_FILE", FILE);

    /// Base URL of the API: https, or http on loopback.
    BASE_URL: Url = Setting::new("STYTCH_BASE_URL", Kind::text("URL", base_url))
        .derived("the API that belongs to the project id");

    /// PEM file of authorities to trust in addition to the system's, for instance where a network
    /// inspects TLS. Read again when it changes.
    CA_FILE: PathBuf = Setting::new("STYTCH_CA_FILE", AUTHORITIES);
}

settings! { TIMEOUTS "Timeouts"
    /// Time for a whole call to Stytch, retries included.
    UPSTREAM_TIMEOUT: Duration =
        Setting::new("TOTP_FACADE_UPSTREAM_TIMEOUT", TIMEOUT).default("10s");

    /// Time for connecting to Stytch, out of the time for the call.
    CONNECT_TIMEOUT: Duration = Setting::new("TOTP_FACADE_CONNECT_TIMEOUT", TIMEOUT)
        .derived("2s, or TOTP_FACADE_UPSTREAM_TIMEOUT if that is shorter");
}

/// A project at Stytch, or at the sandbox.
pub(super) struct Project {
    pub(super) base_url: Url,
    pub(super) project_id: String,
    pub(super) secret: SecretString,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
}

impl Project {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let project_id = reader.get(&PROJECT_ID);
        let secret = secret(reader);
        if !reader.is_given(&BASE_URL) && project_id.as_deref().is_some_and(is_of_no_api) {
            let what = format!(
                "begins with neither {TEST} nor {LIVE}, so it does not tell which API: set {BASE_URL}"
            );
            reader.report(&PROJECT_ID, what);
        }
        let base_url = reader.get_or(&BASE_URL, || project_id.as_deref().map(default_base_url));
        Some(Self {
            ca_file: reader.get(&CA_FILE),
            secret_file: reader.get(&SECRET_FILE),
            base_url: base_url?,
            project_id: project_id?,
            secret: secret?,
        })
    }
}

/// Reads how to reach the project.
pub(super) fn read(reader: &mut Reader<'_>, project: Option<Project>) -> Option<stytch::Settings> {
    let timeout = reader.get(&UPSTREAM_TIMEOUT);
    // A default must not conflict with what an operator has set.
    let connect_timeout =
        reader.get_or(&CONNECT_TIMEOUT, || timeout.map(|timeout| timeout.min(CONNECT)));
    let max_connection_age = reader.get(&MAX_CONNECTION_AGE);
    let (timeout, connect_timeout) = (timeout?, connect_timeout?);
    if connect_timeout > timeout {
        return reader.problem(&CONNECT_TIMEOUT, format!("must not exceed {UPSTREAM_TIMEOUT}"));
    }
    let Project { base_url, project_id, secret, secret_file, ca_file } = project?;
    Some(stytch::Settings {
        base_url,
        project_id,
        secret,
        secret_file,
        ca_file,
        timeout,
        connect_timeout,
        max_connection_age: max_connection_age?,
    })
}

fn secret(reader: &mut Reader<'_>) -> Option<SecretString> {
    let file = reader.get(&SECRET_FILE);
    match (reader.is_given(&SECRET), file) {
        (true, Some(_)) => reader.problem(&SECRET_FILE, format!("must not be set with {SECRET}")),
        (true, None) => reader.get(&SECRET),
        (false, None) => reader.problem(&SECRET, format!("is required (or {SECRET_FILE})")),
        (false, Some(file)) => reader.ok(&SECRET_FILE, stytch::read_secret(&file)),
    }
}

fn project_id(text: &str) -> Result<String, String> {
    // HTTP Basic ends the user name at the first colon.
    let is_good = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    match text {
        "" => Err("is required".to_owned()),
        id if id.bytes().all(is_good) => Ok(id.to_owned()),
        _ => Err("must be visible ASCII without blanks and colons".to_owned()),
    }
}

/// Reads a URL. It may hold a password, so no problem quotes it.
fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        Err("must not hold credentials".to_owned())
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("must not have a query or a fragment".to_owned())
    } else if is_confidential(&url) {
        Ok(url)
    } else {
        Err("must be https (http only on loopback)".to_owned())
    }
}

/// How the ids of the projects of each API begin.
const TEST: &str = "project-test-";
const LIVE: &str = "project-live-";

/// Whether an id does not tell which API the project is at.
fn is_of_no_api(project_id: &str) -> bool {
    !project_id.starts_with(TEST) && !project_id.starts_with(LIVE)
}

/// Stytch has one API for live projects and one for test projects.
fn default_base_url(project_id: &str) -> Url {
    let url = match project_id.starts_with(LIVE) {
        true => "https://api.stytch.com",
        false => "https://test.stytch.com",
    };
    Url::parse(url).expect("a constant URL")
}
