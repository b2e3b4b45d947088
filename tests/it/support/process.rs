//! The program as a process, as a user runs it.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
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
    stdout: Lines,
    stderr: Lines,
}

/// The lines of an output, as they come.
struct Lines {
    next: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(output: Option<impl Read + Send + 'static>) -> Self {
        let (sender, next) = mpsc::channel();
        let mut lines = output.map(BufReader::new).into_iter().flat_map(BufReader::lines);
        thread::spawn(move || lines.try_for_each(|line| sender.send(line.unwrap())));
        Self { next, seen: Vec::new() }
    }

    /// Waits for a line that `is_it`. Returns the number of lines before it.
    fn find(&mut self, is_it: impl Fn(&str) -> bool) -> usize {
        (0..)
            .find(|number| {
                if *number == self.seen.len() {
                    self.seen.push(self.next.recv_timeout(PATIENCE).expect("another line"));
                }
                is_it(&self.seen[*number])
            })
            .unwrap()
    }

    /// Waits for the end. Returns all lines.
    fn all(&mut self) -> &[String] {
        self.seen.extend(self.next.iter());
        &self.seen
    }
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
        let (stdout, stderr) = (Lines::of(child.stdout.take()), Lines::of(child.stderr.take()));
        Self { child, stdout, stderr }
    }

    /// Returns the address that it says it listens on.
    pub fn addr(&mut self, what: &str) -> SocketAddr {
        self.line(&format!("{what} listening on ")).parse().unwrap()
    }

    /// Returns the rest of the line that begins with this.
    pub fn line(&mut self, prefix: &str) -> String {
        let number = self.stdout.find(|line| line.starts_with(prefix));
        self.stdout.seen[number][prefix.len()..].to_owned()
    }

    /// Waits until it has logged this on standard error.
    pub fn logged(&mut self, part: &str) {
        self.stderr.find(|line| line.contains(part));
    }

    /// Returns all that it prints before the line that begins with this.
    pub fn text_before(&mut self, prefix: &str) -> String {
        let number = self.stdout.find(|line| line.starts_with(prefix));
        self.stdout.seen[..number].iter().map(|line| format!("{line}\n")).collect()
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
        let stderr = self.stderr.all().iter().map(|line| format!("{line}\n")).collect();
        (status.code(), self.stdout.all().join("\n"), stderr)
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
