//! The admin port.

use reqwest::StatusCode;

use crate::support::{Facade, sandbox};

#[tokio::test]
async fn livez_and_readyz_say_yes_while_the_server_serves() {
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
}
