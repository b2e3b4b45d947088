//! Redis behind a private authority: trusted beside the system's, and read again when it changes.

use std::time::Instant;

use totp_facade::idempotency::{RedisSettings, StoreSettings};

use crate::{
    secrets,
    support::{
        PATIENCE, Setup, channel,
        credentials::Authority,
        folder::Folder,
        info, is_replayed,
        peer::{self, Peer},
        process::{serve, start},
        redis::Redis,
        rpc::Rpc,
    },
};

/// A Redis that this authority has certified as localhost.
async fn certified(authority: &Authority) -> Option<Redis> {
    Redis::with_flags(|folder, port| {
        certify(authority, folder);
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let port = port.to_string();
        let certificate = path("certificate.pem");
        ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]
            .into_iter()
            .map(ToOwned::to_owned)
            .chain(["--tls-cert-file".to_owned(), certificate])
            .chain(["--tls-key-file".to_owned(), path("key.pem")])
            .collect()
    })
    .await
}

fn certify(authority: &Authority, folder: &std::path::Path) {
    let (certificate, key) = authority.certify(&["dns:localhost"], false);
    std::fs::write(folder.join("certificate.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
}

fn url(redis: &Redis) -> String {
    format!("rediss://localhost:{}", redis.port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_of_redis_is_trusted_beside_the_systems() {
    let (private, systems) = (Authority::new(), Authority::new());
    let (Some(one), Some(two)) = (certified(&private).await, certified(&systems).await) else {
        return;
    };
    let folder = Folder::new();
    folder.write("private.pem", &private.certificate.pem());
    folder.write("systems.pem", &systems.certificate.pem());
    let stytch = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    for (redis, has_file, is_trusted) in
        [(&one, true, true), (&two, true, true), (&one, false, false)]
    {
        let mut command = serve(&format!("http://{}", stytch.addr), secrets::STYTCH_SECRET);
        command
            .args(["--drain-delay", "0s"])
            .env("TOTP_FACADE_IDEMPOTENCY_URL", url(redis))
            .env("SSL_CERT_FILE", folder.path("systems.pem"));
        if has_file {
            command.env("TOTP_FACADE_IDEMPOTENCY_CA_FILE", folder.path("private.pem"));
        }
        let (_server, url) = start(command);

        let answer = Rpc::CREATE.keyed(channel(&url).await, "fresh", "key").await;

        match answer {
            Ok(_) => assert!(is_trusted, "a certificate of nobody known"),
            Err(status) => {
                assert!(!is_trusted, "{status:?}");
                assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");
            }
        }
    }
}

#[tokio::test]
async fn the_authorities_of_redis_are_read_again_for_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let Some(mut redis) = certified(&old).await else { return };
    let folder = Folder::new();
    folder.write("ca.pem", &old.certificate.pem());
    let stytch = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let mut setup = Setup::new(stytch.addr);
    let settings = RedisSettings {
        url: url(&redis).into(),
        min_replicas: 0,
        ca_file: Some(folder.path("ca.pem")),
    };
    setup.idempotency.store = StoreSettings::Redis(settings);
    let facade = setup.start().await;
    let channel = facade.channel().await;
    Rpc::CREATE.keyed(channel.clone(), "fresh", "before").await.expect("an answer");

    certify(&new, redis.folder());
    redis.restart().await;
    let status = Rpc::CREATE.keyed(channel.clone(), "fresh", "key").await.expect_err("unknown");
    assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");
    folder.write("ca.pem", &new.certificate.pem());

    let start = Instant::now();
    loop {
        match Rpc::CREATE.keyed(channel.clone(), "fresh", "key").await {
            Ok(answer) => {
                assert!(!is_replayed(answer.metadata()));
                break;
            }
            Err(status) => assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE"),
        }
        assert!(start.elapsed() < PATIENCE, "the new authority is not trusted");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
