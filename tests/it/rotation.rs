//! The rotation of Stytch's secret while the façade runs.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::{sync::Notify, time::timeout};
use tonic::Code;

use crate::support::{
    PATIENCE, Setup, channel,
    folder::Folder,
    info,
    peer::{self, Peer},
    process::{serve, start},
    rpc::Rpc,
    scrape,
};

/// Creates a folder with this secret in a file.
fn secret_file(secret: &str) -> Folder {
    let folder = Folder::new();
    folder.write("secret", &format!("{secret}\n"));
    folder
}

/// A Stytch that accepts one secret, which the test changes.
async fn stytch(good: &Arc<Mutex<String>>, rpc: Rpc) -> Peer {
    let good = Arc::clone(good);
    Peer::start(move |mut connection| {
        let good = Arc::clone(&good);
        async move {
            while let Some(request) = connection.next().await {
                let given = format!("project-test-1:{}", good.lock().unwrap());
                let basic = format!("Basic {}", data_encoding::BASE64.encode(given.as_bytes()));
                let is_good = request.header("authorization") == Some(&basic);
                connection.keep(request);
                let error = json!({"error_type": "unauthorized_credentials"}).to_string();
                let answer =
                    if is_good { peer::json(200, rpc.answer) } else { peer::json(401, &error) };
                connection.send(answer).await;
            }
        }
    })
    .await
}

fn setup(peer: &Peer, folder: &Folder) -> Setup {
    let mut setup = Setup::new(peer.addr);
    setup.stytch.project_id = "project-test-1".into();
    setup.stytch.secret_file = Some(folder.path("secret"));
    setup
}

#[tokio::test]
async fn after_a_refused_secret_the_file_is_reread_and_the_call_resent() {
    for rpc in Rpc::ALL {
        let folder = secret_file("old");
        let good = Arc::new(Mutex::new("old".to_owned()));
        let peer = stytch(&good, rpc).await;
        let facade = setup(&peer, &folder).start().await;
        let channel = facade.channel().await;
        rpc.try_for(channel.clone(), "fresh").await.expect("the old secret");
        assert_eq!(peer.pending(), 1);

        // Both change at once, and the call comes before the file is reloaded.
        *good.lock().unwrap() = "new".into();
        folder.write("secret", "new\n");
        rpc.try_for(channel.clone(), "fresh").await.expect("the new secret");
        assert!((2..=3).contains(&peer.pending()), "{}", rpc.name);

        // The secret in the file is refused too, and the call is not sent again.
        *good.lock().unwrap() = "another".into();
        let before = peer.pending();
        let status = rpc.try_for(channel, "fresh").await.expect_err("a refused secret");
        assert_eq!(status.code(), Code::Internal, "{}", rpc.name);
        assert_eq!(info(&status).reason, "UPSTREAM_CREDENTIALS_REJECTED", "{}", rpc.name);
        assert_eq!(peer.pending(), before + 1, "{}", rpc.name);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_file_that_hangs_holds_up_neither_calls_nor_the_end() {
    let folder = secret_file("old");
    let good = Arc::new(Mutex::new("new".to_owned()));
    let peer = stytch(&good, Rpc::CREATE).await;
    let mut command = serve(&format!("http://{}", peer.addr), "");
    command.env("STYTCH_SECRET_FILE", folder.path("secret")).args(["--drain-delay", "0s"]);
    let (mut server, url) = start(command);
    let admin = server.addr("admin");
    // To read it waits for somebody who writes.
    let pipe = folder.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::rename(pipe, folder.path("secret")).unwrap();
    let channel = channel(&url).await;

    for _ in 0..2 {
        let calls = (0..20).map(|_| Rpc::CREATE.try_for(channel.clone(), "fresh"));
        for answer in join_all(calls).await {
            let status = answer.expect_err("a refused secret");
            assert_eq!(info(&status).reason, "UPSTREAM_CREDENTIALS_REJECTED", "{status:?}");
        }
    }
    let failed = r#"totp_facade_reload_last_failed{file="stytch_secret"}"#;
    scrape::becomes(admin, failed, 1.0).await;
    folder.write("new", "new\n");
    std::fs::rename(folder.path("new"), folder.path("secret")).unwrap();
    scrape::becomes(admin, failed, 0.0).await;
    Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("the new secret");
    drop(channel);
    server.signal("TERM");
    let (code, _, stderr) = server.end();
    assert_eq!(code, Some(0), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_rotated_under_load_with_no_failed_call() {
    let folder = secret_file("secret-0");
    let good = Arc::new(Mutex::new("secret-0".to_owned()));
    let peer = stytch(&good, Rpc::CREATE).await;
    let facade = setup(&peer, &folder).start().await;
    let channel = facade.channel().await;
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (channel, stop, calls) = (channel.clone(), Arc::clone(&stop), Arc::clone(&calls));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect("no failed call");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let progress = async |more: usize| {
        let until = calls.load(Ordering::SeqCst) + more;
        while calls.load(Ordering::SeqCst) < until {
            assert!(workers.iter().all(|worker| !worker.is_finished()), "a call failed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };

    for number in 1..=5 {
        progress(20).await;
        // In a rotation, the new secret is in the file before the old one expires.
        folder.write("secret", &format!("secret-{number}\n"));
        *good.lock().unwrap() = format!("secret-{number}");
    }
    progress(20).await;

    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        timeout(PATIENCE, worker).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_error_that_echoes_the_secret_before_or_after_a_rotation_is_masked() {
    let (old, new) = ("secret-before-rotation", "secret-after-rotation");
    let folder = secret_file(old);
    let answer = Arc::new(Notify::new());
    let told = Arc::clone(&answer);
    let echo =
        json!({"error_type": "brand_new", "error_message": format!("neither {old} nor {new}")});
    let mut peer = Peer::start(move |mut connection| {
        let (told, echo) = (Arc::clone(&told), peer::json(400, &echo.to_string()));
        async move {
            let is_first = connection.number == 1;
            while connection.request().await {
                if is_first {
                    told.notified().await;
                }
                connection.send(&echo).await;
            }
        }
    })
    .await;
    let facade = setup(&peer, &folder).start().await;
    let channel = facade.channel().await;
    let first = tokio::spawn(Rpc::CREATE.try_for(channel.clone(), "fresh"));
    peer.request().await;

    folder.write("secret", new);
    let basic =
        format!("Basic {}", data_encoding::BASE64.encode(b"project-test-1:secret-after-rotation"));
    let rotated = async {
        loop {
            let status = Rpc::CREATE.try_for(channel.clone(), "fresh").await.expect_err("an error");
            assert!(!status.message().contains(old) || !status.message().contains(new));
            if peer.request().await.header("authorization") == Some(&basic) {
                return;
            }
        }
    };
    timeout(PATIENCE, rotated).await.expect("the secret is read again");
    answer.notify_one();

    let status = first.await.unwrap().expect_err("an error");
    assert!(
        status.message().ends_with("neither [redacted] nor [redacted]"),
        "{}",
        status.message()
    );
}
