//! Starts the servers that are measured, each on given cores, in front of the upstream.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Fallible, contract, cpu::CpuClock, envoy};

/// The credentials that every server sends upstream.
pub const PROJECT_ID: &str = "project-test-1";
pub const SECRET: &str = "secret-test-1";

/// Where programs and files are.
#[derive(Clone)]
pub struct Site {
    /// The façade's program.
    pub facade: PathBuf,
    /// Envoy's program.
    pub envoy: PathBuf,
    /// For logs and configurations.
    pub folder: PathBuf,
    pub upstream: SocketAddr,
}

impl Site {
    /// Returns the path of a server's log. Its folder has nothing else: a façade watches those in
    /// which the files of its settings are.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }
}

/// A running server. It ends when this is dropped.
pub struct Server {
    pub process: Child,
    pub addr: SocketAddr,
}

impl Server {
    pub fn clock(&self) -> Fallible<CpuClock> {
        CpuClock::of(self.process.id())
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks the server to stop, and waits until it has.
    pub fn stop(mut self) -> Fallible<()> {
        terminate(&self.process)?;
        match self.process.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("the server ended with {status}").into()),
        }
    }

    /// Ends the server at once. After a pause, the next start would take longer.
    pub fn kill(mut self) -> Fallible<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it were killed, it would not write what it has counted for `just profile`.
        if let Ok(None) = self.process.try_wait()
            && terminate(&self.process).is_ok()
        {
            let _ = self.process.wait();
        }
    }
}

fn terminate(process: &Child) -> Fallible<()> {
    Ok(kill(Pid::from_raw(process.id().try_into()?), Signal::SIGTERM)?)
}

/// Returns a command that runs `program` on these cores.
pub fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(cores).arg(program);
    command
}

/// Starts a program that says in its first line where it listens, as the façade does.
pub fn announced(mut command: Command) -> Fallible<Server> {
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = process.stdout.take().ok_or("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let Some((_, addr)) = line.split_once(" listening on ") else {
        return Err(format!("{command:?} does not start: {line:?}").into());
    };
    Ok(Server { process, addr: addr.trim().parse()? })
}

/// Returns the command of a façade as it ships: audit trail, metrics and limits as `serve` has them.
pub fn facade_command(site: &Site, cores: &str) -> Fallible<Command> {
    let mut command = pinned(cores, &site.facade);
    command
        .arg("serve")
        .args(["--grpc-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--drain-delay", "0s"])
        .env("STYTCH_PROJECT_ID", PROJECT_ID)
        .env("STYTCH_SECRET", SECRET)
        .env("STYTCH_BASE_URL", format!("http://{}", site.upstream))
        .stderr(log(site, "facade")?);
    Ok(command)
}

pub fn floor_command(site: &Site, cores: &str) -> Fallible<Command> {
    let mut command = pinned(cores, &std::env::current_exe()?);
    command
        .arg("floor")
        .arg("--upstream")
        .arg(site.upstream.to_string())
        .arg("--answer")
        .arg(site.folder.join("create.bin"));
    Ok(command)
}

/// Starts Envoy with its reverse transcoder, on one thread.
pub fn envoy(site: &Site, cores: &str, contract: &contract::Contract) -> Fallible<Server> {
    let descriptors = site.folder.join("envoy.descriptors");
    std::fs::write(&descriptors, contract.with_http_rule()?)?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = site.folder.join("envoy.json");
    let bootstrap = envoy::bootstrap(free, site.upstream, &descriptors);
    std::fs::write(&config, serde_json::to_vec(&bootstrap)?)?;
    let mut command = pinned(cores, &site.envoy);
    command.arg("-c").arg(config).args(["--use-dynamic-base-id", "--concurrency", "1"]);
    command.args(["--log-level", "warn"]).stdout(Stdio::null()).stderr(log(site, "envoy")?);
    let mut server = Server { process: command.spawn()?, addr: free };
    let start = Instant::now();
    while std::net::TcpStream::connect(free).is_err() {
        if server.process.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(30) {
            let log = std::fs::read_to_string(site.log("envoy"))?;
            return Err(format!("Envoy does not start:\n{log}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// Creates the log of a server, which is also its audit trail.
pub fn log(site: &Site, name: &str) -> Fallible<File> {
    let path = site.log(name);
    std::fs::create_dir_all(path.parent().ok_or("a log in no folder")?)?;
    Ok(File::options().create(true).append(true).open(path)?)
}
