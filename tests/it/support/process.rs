//! The program as a process, as a user runs it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use super::PATIENCE;

/// Returns the program with these arguments, without the environment variables that configure it.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_totp-facade"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = ["STYTCH_", "TOTP_FACADE_", "OTEL_"];
        if ours.iter().any(|prefix| name.starts_with(prefix)) || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// Flags that select free ports.
pub const FREE_PORTS: [&str; 4] = ["--grpc-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];

/// Returns `serve` on free ports in front of `base_url`, for the project `project-test-1`.
pub fn serve(base_url: &str, secret: &str) -> Command {
    let mut command = program(&["serve"]);
    command
        .args(FREE_PORTS)
        .env("STYTCH_PROJECT_ID", "project-test-1")
        .env("STYTCH_SECRET", secret)
        .env("STYTCH_BASE_URL", base_url);
    command
}

/// Starts `dev` on free ports. Returns it with the URL of its gRPC port.
pub fn dev(more: &[&str]) -> (Server, String) {
    let mut command = program(&["dev"]);
    command.args(FREE_PORTS).args(["--drain-delay", "0s"]).args(more);
    start(command)
}

/// Starts a façade. Returns it with the URL of its gRPC port.
pub fn start(command: Command) -> (Server, String) {
    let mut server = Server::start(command);
    let url = format!("http://{}", server.addr("grpc"));
    (server, url)
}

/// Runs the program until it exits.
pub fn run(args: &[&str]) -> Output {
    program(args).output().unwrap()
}

/// Runs the program with this standard input until it exits.
pub fn run_with_input(args: &[&str], input: &str) -> Output {
    let mut command = program(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A running server, killed on drop.
pub struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    stdout: Vec<String>,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Server {
    pub fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::piped())
    }

    /// Starts it with this standard error, which is kept if it is a new pipe.
    pub fn start_with(mut command: Command, stderr: impl Into<Stdio>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        // Holds the other end of a given standard error.
        drop(command);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = child.stderr.take();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|it| sender.send(it))
        });
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut stderr) = stderr {
                stderr.read_to_string(&mut text).unwrap();
            }
            text
        });
        Self { child, lines, stdout: Vec::new(), stderr: Some(stderr) }
    }

    /// Returns the address that it says it listens on.
    pub fn addr(&mut self, what: &str) -> SocketAddr {
        self.line(&format!("{what} listening on ")).parse().unwrap()
    }

    /// Returns the rest of the line that begins with this.
    pub fn line(&mut self, prefix: &str) -> String {
        loop {
            if let Some(rest) = self.stdout.iter().find_map(|line| line.strip_prefix(prefix)) {
                return rest.to_owned();
            }
            let line = self.lines.recv_timeout(PATIENCE).expect("a line on standard output");
            self.stdout.push(line);
        }
    }

    /// Returns all that it prints before the line that begins with this.
    pub fn text_before(&mut self, prefix: &str) -> String {
        self.line(prefix);
        let lines = self.stdout.iter().take_while(|line| !line.starts_with(prefix));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Kills it, as a crash of the machine would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it exits. Returns exit code, standard output and standard error.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let status = self.child.wait().unwrap();
        self.stdout.extend(self.lines.iter());
        let stderr = self.stderr.take().unwrap().join().unwrap();
        (status.code(), self.stdout.join("\n"), stderr)
    }
}

/// Sends a process a signal.
pub fn signal(process: u32, name: &str) {
    // The shell's builtin, because not every machine has a kill program.
    let kill = format!("kill -s {name} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
