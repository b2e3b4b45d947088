//! Façades that listen on a Unix domain socket.

use std::{path::PathBuf, process::Command};

use tonic::{Code, Request, Status, transport::Channel};

use super::{
    channel,
    folder::Folder,
    process::{Server, program, run},
    rpc::Rpc,
};

/// A folder with the path of a socket in it.
pub struct Socket {
    pub folder: Folder,
    pub path: PathBuf,
}

impl Socket {
    pub fn new() -> Self {
        let folder = Folder::new();
        Self { path: folder.path("grpc.sock"), folder }
    }

    /// Returns its address.
    pub fn addr(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Returns `dev` that listens on it, unless a flag says otherwise.
    pub fn dev(&self, flags: &[&str]) -> Command {
        let mut command = program(&["dev"]);
        command
            .args(flags)
            .env("TOTP_FACADE_GRPC_ADDR", self.addr())
            .env("TOTP_FACADE_ADMIN_ADDR", "127.0.0.1:0")
            .env("TOTP_FACADE_DRAIN_DELAY", "0s");
        command
    }

    /// Starts `dev` on it, and waits until it serves.
    pub fn serve(&self, more: &[&str]) -> Server {
        let mut server = Server::start(self.dev(more));
        server.line("grpc listening on ");
        server
    }

    /// Whether a health check on it succeeds.
    pub fn is_served(&self) -> bool {
        run(&["healthcheck", "--addr", &self.addr()]).stdout == b"SERVING\n"
    }

    /// Connects to it.
    pub async fn channel(&self) -> Channel {
        channel(&self.addr()).await
    }
}

/// Returns a shell script that ends with `exec "$@"`, and runs this command there.
pub fn through(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Calls an RPC with these headers. Returns how the call ends.
pub async fn call(channel: &Channel, rpc: Rpc, headers: &[(&'static str, &str)]) -> Code {
    let mut request = Request::new((rpc.request)("enrolled"));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let result = (rpc.call)(channel.clone(), request).await;
    result.as_ref().err().map_or(Code::Ok, Status::code)
}
