//! The admin port.

use reqwest::StatusCode;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use crate::support::{Facade, PATIENCE, sandbox};

#[tokio::test]
async fn livez_and_readyz_succeed_while_the_server_serves() {
    let facade = Facade::in_front_of(sandbox().await).await;

    for (path, status) in [
        ("/livez", StatusCode::OK),
        ("/readyz", StatusCode::OK),
        ("/", StatusCode::NOT_FOUND),
        ("/readyz/", StatusCode::NOT_FOUND),
    ] {
        let answer = reqwest::get(format!("http://{}{path}", facade.admin)).await.unwrap();

        assert_eq!(answer.status(), status, "{path}");
    }
    facade.shows("totp_facade_ready 1").await;
}

#[tokio::test]
async fn silent_admin_connections_are_evicted_for_a_probe() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(facade.admin).await.unwrap());
    }

    let answer = reqwest::get(format!("http://{}/livez", facade.admin)).await.unwrap();

    assert_eq!(answer.status(), StatusCode::OK);
    let mut first = silent.remove(0);
    let closed = timeout(PATIENCE, first.read(&mut [0])).await.expect("the first is evicted");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}
