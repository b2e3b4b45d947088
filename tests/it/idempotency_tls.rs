//! Redis behind a private authority: trusted beside the system's, and read again when it changes.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Instant};

use totp_facade::idempotency::{RedisSettings, StoreSettings};

use crate::{
    secrets,
    support::{
        Facade, PATIENCE, Setup, channel,
        credentials::Authority,
        folder::Folder,
        info, is_replayed,
        peer::{self, Peer},
        process::{serve, start},
        redis::{PRIMARY, Redis},
        rpc::Rpc,
    },
};

/// A Redis that this authority has certified as localhost.
async fn certified(authority: &Authority) -> Option<Redis> {
    certified_with(authority, &[]).await
}

async fn certified_with(authority: &Authority, more: &[&str]) -> Option<Redis> {
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
            .chain(["--tls-ca-cert-file".to_owned(), path("ca.pem")])
            .chain(more.iter().map(|flag| (*flag).to_owned()))
            .collect()
    })
    .await
}

fn certify(authority: &Authority, folder: &std::path::Path) {
    let (certificate, key) = authority.certify(&["dns:localhost"], false);
    std::fs::write(folder.join("certificate.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.certificate.pem()).unwrap();
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

/// A façade in this process that trusts this file.
async fn facade(stytch: SocketAddr, url: &str, ca_file: PathBuf) -> Facade {
    let mut setup = Setup::new(stytch);
    let settings = RedisSettings { url: url.into(), min_replicas: 0, ca_file: Some(ca_file) };
    setup.idempotency.store = StoreSettings::Redis(settings);
    setup.start().await
}

#[tokio::test]
async fn sentinels_and_their_primary_are_reached_over_tls_each_with_its_password() {
    let authority = Authority::new();
    let flags = ["--requirepass", "of-the-primary"];
    let Some(primary) = certified_with(&authority, &flags).await else { return };
    let sentinel = Redis::sentinel(|folder, port| {
        certify(&authority, folder);
        let (name, folder, primary) = (PRIMARY, folder.display(), primary.port);
        format!(
            "port 0\ntls-port {port}\ntls-auth-clients no\ntls-replication yes\n\
             tls-cert-file {folder}/certificate.pem\ntls-key-file {folder}/key.pem\n\
             tls-ca-cert-file {folder}/ca.pem\nrequirepass of-the-sentinel\n\
             sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n\
             sentinel monitor {name} localhost {primary} 1\nsentinel auth-pass {name} of-the-primary"
        )
    })
    .await;
    let stytch = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    for (sentinels, is_good) in [("of-the-sentinel", true), ("of-the-primary", false)] {
        let url = format!(
            "rediss+sentinel://:of-the-primary@localhost:{}/{PRIMARY}?sentinel_password={sentinels}",
            sentinel.port
        );
        let facade = facade(stytch.addr, &url, primary.folder().join("ca.pem")).await;

        let answer = Rpc::CREATE.keyed(facade.channel().await, "fresh", sentinels).await;

        assert_eq!(answer.is_ok(), is_good, "{answer:?}");
    }
}

#[tokio::test]
async fn a_cluster_is_reached_over_tls_with_its_password() {
    let authority = Authority::new();
    let flags = [
        ["--cluster-enabled", "yes"],
        ["--tls-cluster", "yes"],
        ["--requirepass", "of-the-cluster"],
        ["--cluster-announce-hostname", "localhost"],
        ["--cluster-preferred-endpoint-type", "hostname"],
    ];
    let Some(node) = certified_with(&authority, flags.as_flattened()).await else { return };
    let ca_file = node.folder().join("ca.pem");
    let mut serve_all = Command::new("redis-cli");
    serve_all.args(["-h", "localhost", "-p", &node.port.to_string(), "--tls", "--insecure"]);
    serve_all.env("REDISCLI_AUTH", "of-the-cluster");
    serve_all.args(["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let output = serve_all.output().unwrap();
    assert!(output.stdout.starts_with(b"OK"), "{output:?}");
    let stytch = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let url = format!("rediss+cluster://:of-the-cluster@localhost:{}", node.port);
    let facade = facade(stytch.addr, &url, ca_file).await;
    let channel = facade.channel().await;

    let start = Instant::now();
    while let Err(status) = Rpc::CREATE.keyed(channel.clone(), "fresh", "key").await {
        // Until the node finds that it serves all there is.
        assert_eq!(info(&status).reason, "IDEMPOTENCY_STORE_UNAVAILABLE");
        assert!(start.elapsed() < PATIENCE, "{status:?}");
    }

    let again = Rpc::CREATE.keyed(channel, "fresh", "key").await.expect("the same");
    assert!(is_replayed(again.metadata()));
    assert_eq!(stytch.pending(), 1);
}

#[tokio::test]
async fn the_authorities_of_redis_are_read_again_for_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let Some(mut redis) = certified(&old).await else { return };
    let folder = Folder::new();
    folder.write("ca.pem", &old.certificate.pem());
    let stytch = Peer::answering(peer::json(200, Rpc::CREATE.answer)).await;
    let facade = facade(stytch.addr, &url(&redis), folder.path("ca.pem")).await;
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
