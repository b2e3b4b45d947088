//! The metrics about when certificates and authorities expire.

use std::time::{Duration, Instant};

use totp_facade::{
    access::jwt,
    idempotency::{RedisSettings, StoreSettings},
};

use crate::support::{
    Facade, PATIENCE, Setup, credentials::Authority, door::DoorFiles, folder::Folder, peer::Peer,
    sandbox,
};

/// When certificates of tests expire: at the end of the year 4095, or in 2020.
const ENDS: f64 = 67_090_118_400.0;
const ENDED: f64 = 1_580_515_200.0;

fn expiration(file: &str) -> String {
    format!("totp_facade_certificate_expiration_timestamp_seconds{{file=\"{file}\"}}")
}

async fn files(facade: &Facade) -> Vec<String> {
    let page = facade.scrape().await;
    let name = "totp_facade_certificate_expiration_timestamp_seconds";
    page.samples(name).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_certificate_and_the_authorities_of_clients_have_an_expiration_that_follows_the_files()
{
    let files = DoorFiles::new(&[&Authority::new()]);
    let facade = files.facade(sandbox().await).await;
    facade.becomes(&expiration("tls"), ENDS).await;
    facade.becomes(&expiration("tls_client_ca"), ENDS).await;

    // One of two that has ended is the first to end.
    let (certificate, key) = Authority::new().certify(&["dns:localhost"], true);
    let both = std::fs::read_to_string(files.path("clients.pem")).unwrap() + &certificate;
    files.write("server.pem", &certificate);
    files.write("server.key", &key);
    files.write("clients.pem", &both);

    facade.becomes(&expiration("tls"), ENDED).await;
    facade.becomes(&expiration("tls_client_ca"), ENDED).await;
}

#[tokio::test]
async fn a_file_of_authorities_that_is_emptied_has_no_expiration() {
    let files = DoorFiles::new(&[&Authority::new()]);
    let facade = files.facade(sandbox().await).await;
    facade.becomes(&expiration("tls_client_ca"), ENDS).await;

    files.write("clients.pem", "");

    let start = Instant::now();
    while self::files(&facade).await != [expiration("tls")] {
        assert!(start.elapsed() < PATIENCE, "it is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_authority_of_a_peer_has_an_expiration() {
    let folder = Folder::new();
    let ca_file = Some(folder.write("ca.pem", &Authority::new().certificate.pem()));
    let peer = Peer::answering("").await;
    let mut setup = Setup::new(peer.addr);
    setup.stytch.ca_file = ca_file.clone();
    setup.idempotency.store = StoreSettings::Redis(RedisSettings {
        url: format!("rediss://{}", peer.addr).into(),
        min_replicas: 0,
        ca_file: ca_file.clone(),
    });
    setup.access.jwt = Some(jwt::Settings {
        issuer: "issuer".to_owned(),
        audience: "audience".to_owned(),
        keys: jwt::Source::Url(format!("http://{}/keys", peer.addr).parse().unwrap()),
        ca_file,
        token_file: None,
    });

    let facade = setup.start().await;

    for file in ["stytch_ca", "redis_ca", "jwt_ca"] {
        facade.becomes(&expiration(file), ENDS).await;
    }
    assert_eq!(files(&facade).await.len(), 3);
}

#[tokio::test]
async fn without_certificates_there_is_no_expiration() {
    let facade = Facade::in_front_of(sandbox().await).await;

    assert!(files(&facade).await.is_empty());
}
