//! The pool of connections to Stytch, renewed at a certain age.
//!
//! A busy connection can stay open forever, and would never notice that Stytch's DNS name has moved
//! or that the trusted authorities have changed. So the whole pool is replaced from time to time.
//! Calls in flight finish on the old pool, which closes after the last of them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    connections::Connections,
    settings::{Settings, SetupError},
};
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

/// Creates the pool, whose connections count in `connections`. It is replaced when the CA file
/// changes, and whenever it reaches `max_connection_age`, for as long as it is in use.
///
/// # Errors
///
/// If the system's certificate store or the CA file cannot be read.
pub(super) fn pool(
    settings: &Settings,
    connections: &Connections,
    metrics: &Metrics,
) -> Result<Arc<Reloaded<HttpClient>>, SetupError> {
    let pool = match settings.ca_file.clone() {
        None => client(settings, connections).map(Reloaded::fixed),
        Some(path) => {
            let (settings, connections) = (settings.clone(), connections.clone());
            let load = move || client(&settings, &connections);
            Reloaded::from_files(metrics, "stytch_ca", vec![path], load)
        }
    };
    let pool = Arc::new(pool.map_err(SetupError::Http)?);
    if !settings.max_connection_age.is_zero() {
        tokio::spawn(renew(Arc::downgrade(&pool), settings.clone(), connections.clone()));
    }
    Ok(pool)
}

/// Replaces the pool whenever it reaches its maximum age.
async fn renew(pool: Weak<Reloaded<HttpClient>>, settings: Settings, connections: Connections) {
    loop {
        // Jitter keeps replicas that started together from reconnecting together.
        tokio::time::sleep(jittered(settings.max_connection_age)).await;
        let (settings, connections) = (settings.clone(), connections.clone());
        // Building a client reads files.
        let fresh = tokio::task::spawn_blocking(move || client(&settings, &connections)).await;
        let Some(pool) = pool.upgrade() else { return };
        match fresh {
            // The reload decides when an empty file counts: once it has been empty for a while.
            Ok(Ok(fresh)) if is_newly_empty(&fresh, &pool.get()) => {
                tracing::debug!("keeping the connections to Stytch: the CA file is empty");
            }
            Ok(Ok(fresh)) => {
                pool.set(fresh);
                tracing::debug!("renewed the connections to Stytch");
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "keeping the connections to Stytch: cannot create new ones");
            }
            // The runtime is shutting down.
            Err(_) => return,
        }
    }
}

/// Returns whether `fresh` lacks something that `current` does not.
fn is_newly_empty<T: Content>(fresh: &T, current: &T) -> bool {
    fresh.missing().is_some() && current.missing().is_none()
}

fn client(settings: &Settings, connections: &Connections) -> Result<HttpClient, String> {
    let (connect_timeout, connections) = (settings.connect_timeout, connections.clone());
    HttpClient::new(&settings.base_url, settings.ca_file.as_deref(), move |builder| {
        builder
            .default_headers(headers())
            .connect_timeout(connect_timeout)
            .connector_layer(connections.clone())
            // hyper looks for idle connections once in this time. So our side closes them after 25
            // to 50 s, before a load balancer does, usually after 60 s.
            .pool_idle_timeout(Duration::from_secs(25))
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
        let pool = Arc::new(Reloaded::fixed(client(&settings, &Connections::default()).unwrap()));
        let first = pool.get();
        std::fs::write(&file, "").unwrap();

        tokio::spawn(renew(Arc::downgrade(&pool), settings, Connections::default()));

        tokio::time::sleep(3 * age).await;
        assert!(Arc::ptr_eq(&pool.get(), &first), "kept");
        std::fs::write(&file, &authority).unwrap();
        tokio::time::sleep(3 * age).await;
        assert!(!Arc::ptr_eq(&pool.get(), &first), "renewed");
    }
}
