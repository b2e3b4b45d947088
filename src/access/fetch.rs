//! Keeps the JWKS behind a URL at hand: fetches it every five minutes, and when it may have changed.
//!
//! A private authority and a bearer token make it possible to ask a Kubernetes API server; both are files, which are
//! read again when they change. What was fetched stays in force while the URL does not answer with a JWKS.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, header::AUTHORIZATION};
use reqwest::Url;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use zeroize::Zeroizing;

use super::jwks::{self, Keys};
use crate::{
    files::{self, Content, Reloaded, what_is_wrong},
    http_client::{HttpClient, describe},
    telemetry::metrics::{Metrics, Reloads},
};

/// How often the keys are fetched.
const REFRESH: Duration = Duration::from_secs(300);
/// How soon again, when a token names a key that is not known, or when that failed.
const SOONEST: Duration = Duration::from_secs(10);
/// How soon again, as long as it has never succeeded.
const FIRST: Duration = Duration::from_secs(1);
/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the keys are, and how to ask for them.
pub(super) struct Fetching {
    url: Url,
    client: Reloaded<HttpClient>,
    token: Option<Reloaded<Token>>,
    reloads: Reloads,
}

/// A token of our own, as it is sent.
struct Token(HeaderValue);

impl Content for Token {}

impl Token {
    /// Reads a file with nothing but a token. What is wrong with it is said in words that do not quote it.
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

/// Whether the token in a file can be sent.
///
/// # Errors
///
/// What is wrong with it, in words that do not quote it.
pub fn check_token(path: &Path) -> Result<(), String> {
    Token::read(path).map(drop)
}

fn client(url: &Url, ca_file: Option<&Path>) -> Result<HttpClient, String> {
    HttpClient::new(url, ca_file, |builder| builder.timeout(TIMEOUT))
}

impl Fetching {
    /// From `url`, with what is in the files, now and later. Needs a runtime.
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

    /// Puts what is fetched into `keys`, from now on.
    pub(super) fn start(self, keys: Reloaded<Option<Keys>>, unknown_key: Arc<Notify>) {
        tokio::spawn(async move {
            loop {
                let start = Instant::now();
                let (again, soonest) = self.refresh(&keys).await;
                let not_before_soonest = async {
                    unknown_key.notified().await;
                    sleep_until(start + soonest).await;
                };
                tokio::select! {
                    () = sleep_until(start + again) => {}
                    () = not_before_soonest => {}
                    // Whatever was wrong may be right now.
                    () = self.files_changed() => {}
                }
            }
        });
    }

    /// Fetches once. How long to wait before the next time, and how long at least when a key is missed.
    async fn refresh(&self, keys: &Reloaded<Option<Keys>>) -> (Duration, Duration) {
        match self.fetch().await {
            Ok(new) => {
                if let Some(what) = new.missing() {
                    tracing::warn!(what, "the JWKS was fetched: it lets nobody in");
                }
                keys.set(Some(new));
                self.reloads.succeeded();
                (REFRESH, SOONEST)
            }
            Err(error) => {
                self.reloads.failed();
                if keys.get().is_none() {
                    tracing::warn!(%error, "the JWKS is not fetched: calls with a JWT are refused");
                    (FIRST, FIRST)
                } else {
                    tracing::warn!(%error, "the JWKS is not fetched: the keys of before stay in force");
                    (SOONEST, SOONEST)
                }
            }
        }
    }

    /// Waits until the authorities or the token have changed.
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
        let mut answer = request.send().await.map_err(describe)?;
        if !answer.status().is_success() {
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(describe)? {
            body.extend_from_slice(&chunk);
            if body.len() > jwks::LARGEST {
                return Err("is too large".into());
            }
        }
        Keys::parse(&body)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const ONE: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","alg":"ES256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

    /// Answers each request with what is in there then.
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

    #[tokio::test]
    async fn an_emptied_set_lets_nobody_in_and_what_is_no_set_changes_nothing_and_is_counted() {
        let answer = Arc::new(Mutex::new((500, String::new())));
        let metrics = Metrics::default();
        let url = server(Arc::clone(&answer)).await;
        let fetching = Fetching::new(url, None, None, &metrics).unwrap();
        let keys = Reloaded::fixed(None);
        let large = format!("{{\"keys\":[],\"more\":\"{}\"}}", "x".repeat(jwks::LARGEST));
        let mut failures = 0;

        // The status, the body, and how many keys are in force then, if any were ever fetched.
        for (status, body, in_force, again) in [
            (500, ONE, None, FIRST),
            (200, "<html>", None, FIRST),
            (200, ONE, Some(1), REFRESH),
            (500, "", Some(1), SOONEST),
            (302, ONE, Some(1), SOONEST),
            (200, "", Some(1), SOONEST),
            (200, "\r\n", Some(1), SOONEST),
            (204, "", Some(1), SOONEST),
            (200, "{}", Some(1), SOONEST),
            (200, r#"{"keys":null}"#, Some(1), SOONEST),
            (200, &large, Some(1), SOONEST),
            (200, r#"{"keys":[]}"#, Some(0), REFRESH),
            (500, "", Some(0), SOONEST),
            (200, ONE, Some(1), REFRESH),
            (200, r#"{"keys":[null]}"#, Some(0), REFRESH),
        ] {
            *answer.lock().unwrap() = (status, body.to_owned());

            let (found, _) = fetching.refresh(&keys).await;

            let count = keys.get().as_ref().as_ref().map(Keys::count);
            let shown = body.get(..60).unwrap_or(body);
            assert_eq!((count, found), (in_force, again), "{status} {shown}");
            failures += usize::from(again != REFRESH);
            let page = metrics.page();
            let lines = [
                format!("reload_failures_total{{file=\"jwks\"}} {failures}"),
                format!("reload_last_failed{{file=\"jwks\"}} {}", usize::from(again != REFRESH)),
            ];
            for line in lines {
                assert!(page.contains(&format!("totp_facade_{line}\n")), "{line} in {page}");
            }
        }
    }
}
