//! The protocols of systemd, with the test as the service manager.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tonic::Code;

use crate::support::{
    PATIENCE, channel,
    process::{Server, run},
    rpc::Rpc,
    socket::{Socket, call, through},
};

/// Lets the program inherit a socket as systemd does, as descriptor 3.
fn with_socket(command: &Command, socket: OwnedFd) -> Command {
    with_one_of(1, command, socket)
}

/// Lets the program inherit a socket, and tells it that there are `count`.
fn with_one_of(count: u32, command: &Command, socket: OwnedFd) -> Command {
    let script = format!("LISTEN_PID=$$ LISTEN_FDS={count} exec \"$@\" 3<&0 </dev/null");
    let mut shell = through(&script, command);
    shell.stdin(Stdio::from(socket));
    shell
}

#[test]
fn the_service_manager_learns_when_calls_are_answered_that_it_lives_and_when_it_drains() {
    let socket = Socket::new();
    let notifications = UnixDatagram::bind(socket.folder.path("notify")).unwrap();
    notifications.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut bytes = [0; 100];
        let length = notifications.recv(&mut bytes).expect("a notification");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut command = socket.dev(&["--drain-delay", "500ms", "--worker-threads", "2"]);
    command.env("NOTIFY_SOCKET", socket.folder.path("notify")).env("WATCHDOG_USEC", "100000");
    let server = Server::start(command);

    let first: Vec<_> = (0..10).map(|_| next()).collect();

    let ready = first.iter().filter(|it| *it == "READY=1").count();
    let beats = first.iter().filter(|it| *it == "WATCHDOG=1").count();
    assert_eq!((ready, beats), (1, 9), "{first:?}");
    assert!(socket.is_served());
    server.signal("TERM");
    while next() != "STOPPING=1" {}
    assert_eq!(next(), "WATCHDOG=1", "it lives while it drains");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn calls_are_answered_once_the_service_manager_is_told() {
    let socket = Socket::new();
    let notifications = UnixDatagram::bind(socket.folder.path("notify")).unwrap();
    notifications.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = socket.dev(&[]);
    command.env("NOTIFY_SOCKET", socket.folder.path("notify"));
    let _server = Server::start(command);

    notifications.recv(&mut [0; 100]).expect("READY=1");

    assert!(socket.is_served());
}

#[test]
fn a_service_manager_that_is_gone_stops_nothing() {
    let socket = Socket::new();
    let mut command = socket.dev(&["--log-format", "json"]);
    command.env("NOTIFY_SOCKET", socket.folder.path("nobody")).env("WATCHDOG_USEC", "1000000");
    let mut server = Server::start(command);
    server.line("grpc listening on ");

    assert!(socket.is_served());

    server.signal("TERM");
    let (code, _, stderr) = server.end();
    assert_eq!(code, Some(0));
    assert!(stderr.contains("cannot notify the service manager"), "{stderr}");
}

#[test]
fn a_socket_of_the_service_manager_is_served_and_left_in_place() {
    let socket = Socket::new();
    let listener = UnixListener::bind(&socket.path).unwrap();
    let inherited = OwnedFd::from(listener.try_clone().unwrap());
    let mut server = Server::start(with_socket(&socket.dev(&[]), inherited));

    assert_eq!(server.line("grpc listening on "), socket.addr());
    assert!(socket.is_served());

    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
    assert!(socket.path.exists(), "it is the service manager's");
}

#[test]
fn a_port_of_the_service_manager_is_served() {
    for flag in ["--grpc-addr", "--admin-addr"] {
        let socket = Socket::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let command = socket.dev(&[flag, &addr]);

        let mut server = Server::start(with_socket(&command, listener.into()));

        let what = flag.trim_start_matches("--").trim_end_matches("-addr");
        assert_eq!(server.line(&format!("{what} listening on ")), addr);
    }
}

#[test]
fn a_socket_for_another_address_than_the_settings_name_is_refused() {
    let (socket, other) = (Socket::new(), Socket::new());
    let unix = UnixListener::bind(&other.path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (unix_addr, tcp_addr) = (other.addr(), tcp.local_addr().unwrap().to_string());
    for (inherited, addr) in [(OwnedFd::from(unix), unix_addr), (OwnedFd::from(tcp), tcp_addr)] {
        let output = with_socket(&socket.dev(&[]), inherited).output().unwrap();

        assert_eq!(output.status.code(), Some(64));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected =
            format!("error: TOTP_FACADE_GRPC_ADDR: the service manager passed a socket for {addr}");
        assert!(stderr.contains(&expected), "{stderr}");
        assert!(!socket.path.exists(), "its own socket is gone again");
    }
}

#[test]
fn what_is_no_socket_is_refused() {
    let socket = Socket::new();
    let file = std::fs::File::open("/dev/null").unwrap();

    let output = with_socket(&socket.dev(&[]), file.into()).output().unwrap();

    assert_refused(
        &output,
        "passed 1 socket(s), from descriptor 3 on, but descriptor 3 is no socket",
    );
}

#[test]
fn a_socket_that_accepts_no_connections_is_refused() {
    let socket = Socket::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_addr = udp.local_addr().unwrap().to_string();
    let datagram = UnixDatagram::bind(&socket.path).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_addr = listener.local_addr().unwrap().to_string();
    let _client = TcpStream::connect(&tcp_addr).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    for (addr, inherited) in [
        (udp_addr, OwnedFd::from(udp)),
        (socket.addr(), OwnedFd::from(datagram)),
        (tcp_addr, OwnedFd::from(accepted)),
    ] {
        let command = socket.dev(&["--grpc-addr", &addr]);

        let output = with_socket(&command, inherited).output().unwrap();

        assert_refused(&output, "passed a socket that accepts no connections, as descriptor 3");
    }
}

#[test]
fn sockets_that_were_not_passed_are_a_bad_setting_and_not_a_crash() {
    let socket = Socket::new();
    let none = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&-";
    let output = through(none, &socket.dev(&[])).output().unwrap();
    assert_refused(&output, "but descriptor 3 is no socket");

    let listener = UnixListener::bind(&socket.path).unwrap();
    let output = with_one_of(2, &socket.dev(&[]), listener.into()).output().unwrap();
    assert_refused(&output, "but descriptor 4 is no socket");

    let malformed = "LISTEN_PID=$$ LISTEN_FDS=some exec \"$@\"";
    let output = through(malformed, &socket.dev(&[])).output().unwrap();
    assert_refused(&output, "malformed");
}

/// Checks that the program ended with 64 and this sentence on `LISTEN_FDS`.
fn assert_refused(output: &Output, what: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(stderr.contains("error: LISTEN_FDS: ") && stderr.contains(what), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_a_socket_of_the_service_manager_refuses_nobody() {
    let socket = Socket::new();
    let listener = UnixListener::bind(&socket.path).unwrap();
    let start = || {
        let inherited = OwnedFd::from(listener.try_clone().unwrap());
        let mut server = Server::start(with_socket(&socket.dev(&[]), inherited));
        server.line("grpc listening on ");
        server
    };
    let addr = socket.addr();
    let until = Instant::now() + Duration::from_secs(4);
    let mut server = start();

    let callers: Vec<_> = (0..4)
        .map(|_| {
            let addr = addr.clone();
            tokio::spawn(async move {
                let mut calls = 0;
                while Instant::now() < until {
                    // Each on a connection of its own, as what comes to a restart.
                    assert_eq!(call(&channel(&addr).await, Rpc::GET, &[]).await, Code::Ok);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut restarts = 0;
    while Instant::now() < until {
        server.signal("TERM");
        assert_eq!(server.end().0, Some(0));
        server = start();
        restarts += 1;
    }

    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    assert!(restarts >= 3 && calls > restarts, "{restarts} restarts, {calls} calls");
    assert_eq!(run(&["healthcheck", "--addr", &addr]).status.code(), Some(0));
}
