//! The connections to Stytch, which are given up at a certain age for fresh ones.
//!
//! A connection in use may last for ever, and nobody would see that Stytch's name has moved, or what has changed
//! in the authorities that are trusted. So the whole pool is replaced: calls under way finish on the old one,
//! which is closed with the last of them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::client::{Settings, SetupError};
use crate::{
    files::{Content, Reloaded},
    http_client::HttpClient,
    jitter::jittered,
    telemetry::metrics::Metrics,
};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};

/// The pool of the present. It is replaced when the file of authorities changes, and at the age of the settings as
/// long as somebody has it.
///
/// # Errors
///
/// When the system's authorities or those of the file cannot be read.
pub(super) fn pool(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Arc<Reloaded<HttpClient>>, SetupError> {
    let pool = match settings.ca_file.clone() {
        None => client(settings).map(Reloaded::fixed),
        Some(path) => {
            let settings = settings.clone();
            Reloaded::from_files(metrics, "stytch_ca", vec![path], move || client(&settings))
        }
    };
    let pool = Arc::new(pool.map_err(SetupError::Http)?);
    if !settings.max_connection_age.is_zero() {
        tokio::spawn(renew(Arc::downgrade(&pool), settings.clone()));
    }
    Ok(pool)
}

/// Replaces the pool whenever it has reached its age.
async fn renew(pool: Weak<Reloaded<HttpClient>>, settings: Settings) {
    loop {
        // Replicas that started together do not reconnect together.
        tokio::time::sleep(jittered(settings.max_connection_age)).await;
        let settings = settings.clone();
        // It reads files.
        let fresh = tokio::task::spawn_blocking(move || client(&settings)).await;
        let Some(pool) = pool.upgrade() else { return };
        match fresh {
            // An empty file counts once it has stayed so for a while, and that the reload sees.
            Ok(Ok(fresh)) if is_suddenly_empty(&fresh, &pool.get()) => {
                tracing::debug!("connections to Stytch stay: the file of authorities is empty");
            }
            Ok(Ok(fresh)) => {
                pool.set(fresh);
                tracing::debug!("connections to Stytch are made anew");
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "connections to Stytch stay: there can be no new ones");
            }
            // Only a runtime that ends drops its tasks.
            Err(_) => return,
        }
    }
}

/// Whether something is missing in what is read that is not missing in what is in force.
fn is_suddenly_empty<T: Content>(fresh: &T, present: &T) -> bool {
    fresh.missing().is_some() && present.missing().is_none()
}

fn client(settings: &Settings) -> Result<HttpClient, String> {
    HttpClient::new(&settings.base_url, settings.ca_file.as_deref(), |builder| {
        builder
            .default_headers(headers())
            .connect_timeout(settings.connect_timeout)
            // Below the usual 60 s of load balancers, so that it is we who close first.
            .pool_idle_timeout(Duration::from_secs(50))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10))
    })
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/json")),
        // Without a charset: Stytch refuses `application/json; charset=utf-8`.
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_of_authorities_that_is_empty_for_a_moment_costs_a_renewal_and_not_the_authority()
     {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let names = ["localhost".to_owned()];
        let authority = rcgen::generate_simple_self_signed(names).unwrap().cert.pem();
        let age = Duration::from_secs(60);
        let settings = Settings {
            base_url: "https://localhost".parse().unwrap(),
            project_id: "project-test-pool".to_owned(),
            secret: "secret".into(),
            secret_file: None,
            ca_file: Some(file.clone()),
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            max_connection_age: age,
        };
        std::fs::write(&file, &authority).unwrap();
        let pool = Arc::new(Reloaded::fixed(client(&settings).unwrap()));
        let first = pool.get();
        std::fs::write(&file, "").unwrap();

        tokio::spawn(renew(Arc::downgrade(&pool), settings));

        tokio::time::sleep(3 * age).await;
        assert!(Arc::ptr_eq(&pool.get(), &first), "it stays");
        std::fs::write(&file, &authority).unwrap();
        tokio::time::sleep(3 * age).await;
        assert!(!Arc::ptr_eq(&pool.get(), &first), "it is made anew");
    }
}
