//! Fetches the JWKS behind a URL every five minutes, and when it may have changed.
//!
//! With a private authority and a bearer token it can be fetched from a Kubernetes API server. Both
//! are read from files, and again when these change. The last JWKS stays in force until the URL
//! returns another one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::Url;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use zeroize::Zeroizing;

use super::jwks::{self, Keys};
use crate::{
    files::{self, Content, Reloaded, what_is_wrong},
    http_client::{HttpClient, explain},
    telemetry::metrics::{Metrics, Reloads},
};

/// The setting of the authorities to trust.
const CA_SETTING: &str = "TOTP_FACADE_JWT_CA_FILE";

/// The interval between successful fetches.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// The interval after a failed fetch, and the minimum before a fetch for an unknown key.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// The interval between fetches until the first one succeeds.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// The time limit of a fetch.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches a JWKS.
pub(super) struct Fetcher {
    url: Url,
    client: Reloaded<HttpClient>,
    token: Option<Reloaded<Token>>,
    reloads: Reloads,
}

/// The value of our own `authorization` header.
struct Token(HeaderValue);

impl Content for Token {}

impl Token {
    /// Reads a file that holds a token and nothing else. Errors do not quote it.
    fn read(path: &Path) -> Result<Self, String> {
        let text = files::read(path)?;
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(what_is_wrong(path, &"is empty"));
        }
        let value = Zeroizing::new(format!("Bearer {token}"));
        match HeaderValue::from_str(&value) {
            Ok(mut value) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                value.set_sensitive(true);
                Ok(Self(value))
            }
            _ => Err(what_is_wrong(path, &"must be visible ASCII without blanks")),
        }
    }
}

/// Checks that the token in a file can be sent.
///
/// # Errors
///
/// What is wrong with the file. The error does not quote the token.
pub fn check_token(path: &Path) -> Result<(), String> {
    Token::read(path).map(drop)
}

/// When to fetch again, from the start of the last fetch.
struct Intervals {
    next: Duration,
    /// The minimum if a token names an unknown key.
    minimum: Duration,
}

fn client(url: &Url, ca_file: Option<&Path>) -> Result<HttpClient, String> {
    HttpClient::new(url, ca_file, |builder| builder.timeout(TIMEOUT))
}

impl Fetcher {
    /// Fetches from `url`. Loads the files, now and when they change. Needs a runtime.
    ///
    /// # Errors
    ///
    /// What is wrong with a file.
    pub(super) fn new(
        url: Url,
        ca_file: Option<PathBuf>,
        token_file: Option<PathBuf>,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let client = match ca_file {
            None => Reloaded::fixed(client(&url, None)?),
            Some(path) => {
                let (url, paths) = (url.clone(), vec![path.clone()]);
                let load = move || client(&url, Some(&path));
                Reloaded::from_files(metrics, "jwt_ca", paths, load)?
            }
        };
        let token = token_file.map(|path| {
            let paths = vec![path.clone()];
            Reloaded::from_files(metrics, "jwt_token", paths, move || Token::read(&path))
        });
        Ok(Self { url, client, token: token.transpose()?, reloads: metrics.reloads("jwks") })
    }

    /// Keeps `keys` up to date in a task of its own. A notification of `unknown_key` asks for a
    /// fetch.
    pub(super) fn start(self, keys: Reloaded<Option<Keys>>, unknown_key: Arc<Notify>) {
        tokio::spawn(async move {
            loop {
                let start = Instant::now();
                let Intervals { next, minimum } = self.refresh(&keys).await;
                let key_is_missed = async {
                    unknown_key.notified().await;
                    sleep_until(start + minimum).await;
                };
                tokio::select! {
                    () = sleep_until(start + next) => {}
                    () = key_is_missed => {}
                    // A fetch that has failed may succeed now.
                    () = self.files_changed() => {}
                }
            }
        });
    }

    /// Fetches the JWKS once, and returns when to fetch it again.
    async fn refresh(&self, keys: &Reloaded<Option<Keys>>) -> Intervals {
        let host = self.url.host_str();
        match self.fetch().await {
            Ok(new) => {
                if let Some(what) = new.missing() {
                    tracing::warn!(host, what, "the fetched JWKS lets nobody in");
                }
                keys.set(Some(new));
                self.reloads.succeeded();
                Intervals { next: REFRESH_INTERVAL, minimum: RETRY_INTERVAL }
            }
            Err(error) => {
                self.reloads.failed();
                let next = if keys.get().is_none() {
                    tracing::warn!(host, %error, "cannot fetch the JWKS: calls with a JWT are refused");
                    FIRST_INTERVAL
                } else {
                    tracing::warn!(host, %error, "cannot fetch the JWKS: the last one stays in force");
                    RETRY_INTERVAL
                };
                Intervals { next, minimum: next }
            }
        }
    }

    /// Waits until the file of the authorities or that of the token has changed.
    async fn files_changed(&self) {
        let token_changed = async {
            match &self.token {
                Some(token) => token.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.client.changed() => {}
            () = token_changed => {}
        }
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let mut request = self.client.get().client().get(self.url.clone());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.get().0.clone());
        }
        let mut response = request.send().await.map_err(|error| explain(error, CA_SETTING))?;
        if !response.status().is_success() {
            return Err(refused(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| explain(error, CA_SETTING))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > jwks::MAX_BYTES {
                return Err("is too large".into());
            }
        }
        Keys::parse(&body)
    }
}

/// Describes a response that is no success, with the setting to check unless only the server can
/// help.
fn refused(status: StatusCode) -> String {
    let setting = match status.as_u16() {
        401 | 403 => "; check TOTP_FACADE_JWT_TOKEN_FILE",
        407 | 408 | 429 => "",
        300..=499 => "; check TOTP_FACADE_JWT_KEYS",
        _ => "",
    };
    format!("answered {}{setting}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::telemetry::metrics::Format;

    const ONE: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","alg":"ES256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    /// Starts a server that responds with the current value of `answer`.
    async fn server(answer: Arc<Mutex<(u16, String)>>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let (status, body) = answer.lock().unwrap().clone();
                let head = format!("HTTP/1.1 {status} It\r\ncontent-length: {}", body.len());
                let answer = format!("{head}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        url.parse().unwrap()
    }

    #[test]
    fn a_jwks_that_is_refused_names_the_setting_to_check() {
        for (status, setting) in [
            (401, "; check TOTP_FACADE_JWT_TOKEN_FILE"),
            (403, "; check TOTP_FACADE_JWT_TOKEN_FILE"),
            (404, "; check TOTP_FACADE_JWT_KEYS"),
            (302, "; check TOTP_FACADE_JWT_KEYS"),
            (407, ""),
            (429, ""),
            (503, ""),
        ] {
            let said = refused(StatusCode::from_u16(status).unwrap());
            assert_eq!(said, format!("answered {status}{setting}"));
        }
    }

    #[tokio::test]
    async fn an_emptied_jwks_admits_nobody_and_an_invalid_one_changes_nothing() {
        let answer = Arc::new(Mutex::new((500, String::new())));
        let metrics = Metrics::default();
        let url = server(Arc::clone(&answer)).await;
        let fetcher = Fetcher::new(url, None, None, &metrics).unwrap();
        let keys = Reloaded::fixed(None);
        let large = format!("{{\"keys\":[],\"more\":\"{}\"}}", "x".repeat(jwks::MAX_BYTES));
        let mut failures = 0;

        // Status, body, the number of keys in force, and the next interval.
        for (status, body, in_force, next) in [
            (500, ONE, None, FIRST_INTERVAL),
            (200, "<html>", None, FIRST_INTERVAL),
            (200, ONE, Some(1), REFRESH_INTERVAL),
            (500, "", Some(1), RETRY_INTERVAL),
            (302, ONE, Some(1), RETRY_INTERVAL),
            (200, "", Some(1), RETRY_INTERVAL),
            (200, "\r\n", Some(1), RETRY_INTERVAL),
            (204, "", Some(1), RETRY_INTERVAL),
            (200, "{}", Some(1), RETRY_INTERVAL),
            (200, r#"{"keys":null}"#, Some(1), RETRY_INTERVAL),
            (200, &large, Some(1), RETRY_INTERVAL),
            (200, r#"{"keys":[]}"#, Some(0), REFRESH_INTERVAL),
            (500, "", Some(0), RETRY_INTERVAL),
            (200, ONE, Some(1), REFRESH_INTERVAL),
            (200, r#"{"keys":[null]}"#, Some(0), REFRESH_INTERVAL),
        ] {
            *answer.lock().unwrap() = (status, body.to_owned());

            let found = fetcher.refresh(&keys).await.next;

            let count = keys.get().as_ref().as_ref().map(Keys::count);
            let shown = body.get(..60).unwrap_or(body);
            assert_eq!((count, found), (in_force, next), "{status} {shown}");
            failures += usize::from(next != REFRESH_INTERVAL);
            let page = metrics.page(Format::Text);
            let lines = [
                format!("reload_failures_total{{file=\"jwks\"}} {failures}"),
                format!(
                    "reload_last_failed{{file=\"jwks\"}} {}",
                    usize::from(next != REFRESH_INTERVAL)
                ),
            ];
            for line in lines {
                assert!(page.contains(&format!("totp_facade_{line}\n")), "{line} in {page}");
            }
        }
    }
}
