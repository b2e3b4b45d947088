//! A Unix domain socket: its file, who may call on it, and how it is called.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    process::Stdio,
    time::Instant,
};

use rustix::process::getuid;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    sync::oneshot,
    time::{Duration, timeout},
};
use tonic::Code;
use totp_facade::{
    access::token_line,
    connection::{Listener, UnixSocket},
    server::Listeners,
};

use crate::support::{
    PATIENCE, Setup, frames, listener,
    process::{Server, program, run},
    rpc::Rpc,
    sandbox,
    socket::{Socket, call, through},
};

#[test]
fn the_commands_call_a_facade_on_a_socket_whose_file_is_for_its_user_and_goes_with_it() {
    let socket = Socket::new();
    let mut server = socket.serve(&[]);

    assert_eq!(server.line("grpc listening on "), socket.addr());
    let mode = fs::metadata(&socket.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(socket.is_served());
    let ids = ["--organization-id", "example-works", "--member-id", "fresh"];
    for addr in [socket.addr(), format!("unix://{}", socket.path.display())] {
        let output = run(&[&["create", "--addr", &addr][..], &ids].concat());
        let response: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
        });
        assert!(response["secret"].is_string(), "{response}");
    }
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
    assert!(!socket.path.exists());
    let output = run(&["healthcheck", "--addr", &socket.addr()]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("cannot connect to {}", socket.addr())), "{stderr}");
}

#[test]
fn the_hints_of_dev_and_its_console_name_the_socket() {
    let socket = Socket::new();
    let mut server = socket.serve(&[]);
    let console = server.line("console listening on ");

    let settings = tokio::runtime::Runtime::new().unwrap().block_on(async {
        reqwest::get(format!("{console}/settings.json")).await.unwrap().text().await.unwrap()
    });

    assert!(settings.contains(&format!("\"url\":\"{}\"", socket.addr())), "{settings}");
    server.signal("TERM");
    let (_, hints, _) = server.end();
    let flag =
        format!("-authority localhost -unix {} stytch.b2b.recovery_codes", socket.path.display());
    for part in [format!(" create --addr {} --organization-id", socket.addr()), flag] {
        assert!(hints.contains(&part), "{part} in {hints}");
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_or_another_file_is_refused() {
    let socket = Socket::new();
    socket.serve(&[]).kill();
    assert!(socket.path.exists(), "killed, it removes nothing");
    let server = socket.serve(&[]);

    let refused = |what: &str| {
        let output = socket.dev(&[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected = format!("error: cannot listen for grpc on {}: {what}", socket.addr());
        assert!(stderr.contains(&expected), "{stderr}");
    };
    refused("another process listens");
    assert!(socket.is_served(), "by the first");
    drop(server);
    fs::remove_file(&socket.path).unwrap();
    fs::write(&socket.path, "precious").unwrap();
    refused("there is a file that is not a socket");
    assert_eq!(fs::read(&socket.path).unwrap(), b"precious");
    fs::remove_file(&socket.path).unwrap();
    std::os::unix::fs::symlink(socket.folder.path("elsewhere"), &socket.path).unwrap();
    refused("there is a file that is not a socket");
}

#[test]
fn a_socket_whose_queue_is_full_is_alive() {
    let socket = Socket::new();
    let listening = listener_for_two(&socket);
    let full = std::iter::repeat_with(|| {
        let client = std::os::unix::net::UnixStream::connect(&socket.path);
        client.unwrap()
    });
    let _held: Vec<_> = full.take(2).collect();
    let start = Instant::now();

    let output = socket.dev(&[]).output().unwrap();

    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("another process listens"), "{stderr}");
    assert!(start.elapsed() < PATIENCE, "it waits for nobody");
    drop(listening);
}

/// Listens with room for two connections, which nobody accepts.
fn listener_for_two(socket: &Socket) -> UnixListener {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let unbound = tokio::net::UnixSocket::new_stream().unwrap();
    unbound.bind(&socket.path).unwrap();
    let listener = unbound.listen(1).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    listener
}

#[test]
fn of_processes_that_start_at_once_on_a_stale_socket_one_serves() {
    for _ in 0..5 {
        let socket = Socket::new();
        drop(UnixListener::bind(&socket.path).unwrap());

        let start = || {
            let mut command = socket.dev(&[]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut processes: Vec<_> = (0..4).map(|_| start()).collect();
        let begin = Instant::now();
        while processes.len() > 1 {
            processes.retain_mut(|process| process.try_wait().unwrap().is_none());
            assert!(begin.elapsed() < PATIENCE, "{} serve", processes.len());
            std::thread::sleep(Duration::from_millis(10));
        }

        while !socket.is_served() {
            assert!(begin.elapsed() < PATIENCE, "nobody serves");
        }
        let mut winner = processes.pop().unwrap();
        winner.kill().unwrap();
        winner.wait().unwrap();
    }
}

#[test]
fn a_file_that_has_taken_the_place_of_the_socket_stays() {
    let socket = Socket::new();
    let server = socket.serve(&[]);
    fs::rename(&socket.path, socket.folder.path("moved")).unwrap();
    fs::write(&socket.path, "another").unwrap();

    server.signal("TERM");

    assert_eq!(server.end().0, Some(0));
    assert_eq!(fs::read(&socket.path).unwrap(), b"another");
}

#[test]
fn the_file_has_the_mode_of_the_settings_whatever_the_umask() {
    for (umask, mode) in [("077", "0660"), ("000", "0600"), ("022", "0777")] {
        let socket = Socket::new();
        let command = socket.dev(&["--grpc-socket-mode", mode]);
        let masked = through(&format!("umask {umask}; exec \"$@\""), &command);
        let mut server = Server::start(masked);
        server.line("grpc listening on ");

        let found = fs::metadata(&socket.path).unwrap().permissions().mode() & 0o777;

        assert_eq!(format!("{found:04o}"), mode, "with a umask of {umask}");
    }
}

#[tokio::test]
async fn on_a_socket_callers_are_their_users_and_a_proxy_is_none_of_its_callers() {
    const FORWARDED: (&str, &str) = ("x-forwarded-client-cert", "URI=spiffe://example.org/a");
    let uid = getuid().as_raw();
    let policy = |identity: &str| {
        format!(
            "[[caller]]\nname = 'it'\nidentities = ['{identity}']\n\
             methods = ['RecoveryCodesService/*']"
        )
    };
    let (ours, other) = (format!("unix:{uid}"), format!("unix:{}", uid + 1));
    let (token, line) = token_line("it");
    let bearer = format!("Bearer {}", *token);
    let authorization = [("authorization", bearer.as_str())];
    for (what, identity, tokens, proxy, headers, get, create) in [
        (
            "a user of the policy",
            Some(&ours),
            false,
            None,
            &[][..],
            Code::Ok,
            Code::PermissionDenied,
        ),
        (
            "another user",
            Some(&other),
            false,
            None,
            &[],
            Code::Unauthenticated,
            Code::Unauthenticated,
        ),
        ("no policy", None, false, None, &[], Code::Ok, Code::AlreadyExists),
        ("tokens, no policy", None, true, None, &[], Code::Unauthenticated, Code::Unauthenticated),
        ("a token", None, true, None, &authorization, Code::Ok, Code::AlreadyExists),
        (
            "a token beside a user",
            Some(&ours),
            true,
            None,
            &authorization,
            Code::Unauthenticated,
            Code::Unauthenticated,
        ),
        ("a user without a token", Some(&ours), true, None, &[], Code::Ok, Code::PermissionDenied),
        (
            "a proxy itself",
            Some(&ours),
            false,
            Some(&ours),
            &[],
            Code::Unauthenticated,
            Code::Unauthenticated,
        ),
        ("a proxy's caller", None, false, Some(&ours), &[FORWARDED], Code::Ok, Code::AlreadyExists),
        (
            "one who poses as a proxy",
            None,
            false,
            Some(&other),
            &[FORWARDED],
            Code::Unauthenticated,
            Code::Unauthenticated,
        ),
    ] {
        let socket = Socket::new();
        let policy = identity.map(|it| socket.folder.write("callers.toml", &policy(it)));
        let tokens = tokens.then(|| socket.folder.write("tokens", &format!("{line}\n")));
        let mut command = socket.dev(&[]);
        command.args(policy.iter().flat_map(|path| ["--callers-file".as_ref(), path.as_os_str()]));
        command.args(tokens.iter().flat_map(|path| ["--tokens-file".as_ref(), path.as_os_str()]));
        command.args(proxy.into_iter().flat_map(|it| ["--trust-xfcc-from", it]));
        let mut server = Server::start(command);
        server.line("grpc listening on ");
        let channel = socket.channel().await;

        assert_eq!(call(&channel, Rpc::GET, headers).await, get, "{what}");
        assert_eq!(call(&channel, Rpc::CREATE, headers).await, create, "{what}");
    }
}

#[tokio::test]
async fn the_log_and_the_audit_trail_name_the_user_of_a_socket() {
    let socket = Socket::new();
    let flags = ["--log-format", "json", "--log", "info,access=info"];
    let server = socket.serve(&flags);
    let client = socket.channel().await;

    call(&client, Rpc::DELETE, &[]).await;

    server.signal("TERM");
    let (_, _, stderr) = server.end();
    let lines: Vec<Value> = stderr.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    let of = |target: &str| {
        let line = lines.iter().find(|line| line["target"] == target);
        line.unwrap_or_else(|| panic!("no {target} in {stderr}"))
    };
    let user = format!("unix:{}", getuid().as_raw());
    assert_eq!(of("audit")["caller"], user, "{stderr}");
    let peer = format!("{user}[{}]", std::process::id());
    assert_eq!(of("access")["peer"], peer, "{stderr}");
}

#[tokio::test]
async fn connections_of_a_socket_are_limited_evicted_and_drained_like_others() {
    let socket = Socket::new();
    let mut setup = Setup::new(sandbox().await);
    setup.server.max_connections = 1;
    let unix = UnixSocket::bind(&socket.path, 0o600, 128).await.unwrap();
    let listeners = Listeners { grpc: Listener::Unix(unix), admin: listener().await };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = setup.server();
    let drained = tokio::spawn(server.run(listeners, async { stopped.await.unwrap_or_default() }));
    let mut stranger = UnixStream::connect(&socket.path).await.unwrap();
    stranger.write_all(&frames::start()).await.unwrap();

    let client = socket.channel().await;
    assert_eq!(call(&client, Rpc::GET, &[]).await, Code::Ok, "the newcomer's call");

    assert_eq!(goaway(&mut stranger).await, Some(0), "NO_ERROR");
    stop.send(()).unwrap();
    timeout(PATIENCE, drained).await.unwrap().unwrap().expect("a clean drain");
    assert!(!socket.path.exists(), "it accepts nobody");
}

/// Reads until a GOAWAY. Returns its error code.
async fn goaway(stream: &mut UnixStream) -> Option<u32> {
    while let Some(frame) = frames::read(stream).await {
        if frame.kind == frames::GOAWAY {
            return Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
        }
    }
    None
}

#[test]
fn settings_that_do_not_fit_a_socket_are_refused_and_those_that_do_are_shown() {
    let folder = Socket::new();
    let addr = folder.addr();
    let long = format!("unix:/{}", "x".repeat(120));
    let check = |args: &[&str]| {
        let mut command = program(&["check"]);
        command.args(args).env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "s");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for (args, expected) in [
        (&["--grpc-addr", "unix:"][..], "TOTP_FACADE_GRPC_ADDR: names no path"),
        (
            &["--grpc-addr", "unix-abstract:grpc"],
            "TOTP_FACADE_GRPC_ADDR: must be a path: an abstract",
        ),
        (&["--grpc-addr", &long], "TOTP_FACADE_GRPC_ADDR: has a path of 121 bytes, longer than"),
        (&["--grpc-addr", "localhost:1"], "or unix:PATH"),
        (
            &["--grpc-addr", &addr, "--grpc-socket-mode", "0066"],
            "TOTP_FACADE_GRPC_SOCKET_MODE: \"0066\"",
        ),
        (
            &["--grpc-addr", &addr, "--grpc-socket-mode", "1777"],
            "TOTP_FACADE_GRPC_SOCKET_MODE: \"1777\"",
        ),
        (
            &["--grpc-addr", &addr, "--trust-xfcc-from", "127.0.0.1"],
            "TOTP_FACADE_TRUST_XFCC_FROM: 127.0.0.1/32 cannot reach",
        ),
        (&["--trust-xfcc-from", "unix:1000"], "TOTP_FACADE_TRUST_XFCC_FROM: unix:1000 needs"),
        (
            &["--grpc-addr", &addr, "--trust-xfcc-from", "unix:envoy"],
            "\"unix:envoy\" is not unix:UID",
        ),
    ] {
        let (code, text) = check(args);

        assert_eq!(code, Some(64), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
    let (code, text) = check(&["--grpc-addr", &addr, "--grpc-socket-mode", "660"]);
    assert_eq!(code, Some(0), "{text}");
    for line in [
        &format!("TOTP_FACADE_GRPC_ADDR={addr}"),
        "TOTP_FACADE_GRPC_SOCKET_MODE=0660",
        "TOTP_FACADE_REFLECTION=true",
        "Every user who may open the socket may call everything.",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

#[test]
fn tls_is_refused_on_a_socket() {
    let files = crate::support::door::DoorFiles::new(&[]);
    let (certificate, key) = (files.path("server.pem"), files.path("server.key"));
    let socket = Socket::new();

    let output = socket
        .dev(&["--tls-cert-file", certificate.to_str().unwrap()])
        .args(["--tls-key-file", key.to_str().unwrap()])
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("TOTP_FACADE_TLS_CERT_FILE: is for TCP"), "{stderr}");
}
