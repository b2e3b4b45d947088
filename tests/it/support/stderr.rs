//! Standard errors of a façade that are slow, full or gone.

use std::{
    fs::File,
    io::{PipeReader, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Command,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    pipe::fcntl_setpipe_size,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;

/// One end of a pipe, a socket or a terminal that nobody reads until the test does. The other is
/// for a process.
pub struct Unread<R>(pub R, pub OwnedFd);

impl Unread<PipeReader> {
    /// A pipe as the system makes it.
    pub fn pipe() -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        Self(reader, writer.into())
    }

    /// A pipe that holds a page.
    pub fn small_pipe() -> Self {
        let pipe = Self::pipe();
        fcntl_setpipe_size(&pipe.1, rustix::param::page_size()).unwrap();
        pipe
    }
}

impl Unread<UnixStream> {
    pub fn socket() -> Self {
        let (reader, writer) = UnixStream::pair().unwrap();
        Self(reader, writer.into())
    }
}

impl Unread<File> {
    /// A terminal. What reads it sees each line break as the terminal shows it.
    pub fn terminal() -> Self {
        let reader = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&reader).unwrap();
        unlockpt(&reader).unwrap();
        let name = ptsname(&reader, Vec::new()).unwrap();
        let terminal = File::options().write(true).open(name.to_str().unwrap()).unwrap();
        Self(reader.into(), terminal.into())
    }
}

impl<R> Unread<R> {
    /// Fills it with empty lines, until it takes no more.
    pub fn full(self) -> Self {
        let (writer, flags) = (&self.1, fcntl_getfl(&self.1).unwrap());
        fcntl_setfl(writer, flags | OFlags::NONBLOCK).unwrap();
        let fill = |size| {
            (0..)
                .take_while(|_| rustix::io::write(writer, &vec![b'\n'; size]) != Err(Errno::AGAIN))
                .count()
        };
        // A terminal makes room for a moment, as it passes on what it has.
        let mut tries = 0;
        while tries < 5 {
            tries = if fill(4096) + fill(1) == 0 { tries + 1 } else { 0 };
            thread::sleep(Duration::from_millis(2));
        }
        // The process has the same open file.
        fcntl_setfl(writer, flags).unwrap();
        self
    }
}

/// Reads all there is until the process has gone, `size` bytes at a time.
pub fn read(mut reader: impl Read + Send + 'static, size: usize) -> JoinHandle<Lines> {
    thread::spawn(move || {
        let (mut bytes, mut part) = (Vec::new(), vec![0; size]);
        // A terminal fails once its process has gone.
        while let Ok(read @ 1..) = reader.read(&mut part) {
            bytes.extend_from_slice(&part[..read]);
        }
        Lines(String::from_utf8(bytes).unwrap())
    })
}

/// What a process wrote.
#[derive(Debug)]
pub struct Lines(pub String);

impl Lines {
    /// Returns the lines in JSON, each of which is whole.
    pub fn json(&self) -> Vec<Value> {
        assert!(self.0.is_empty() || self.0.ends_with('\n'), "the last line is cut");
        let lines = self.0.lines().filter(|line| !line.is_empty());
        // The last line may be a plain error message of the program.
        let lines = lines.filter(|line| !line.starts_with("error: "));
        lines.map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// Returns the members of the audit events, in their order.
    pub fn members(&self) -> Vec<String> {
        let events = self.json().into_iter().filter(|line| line["target"] == "audit");
        events.map(|event| event["member_id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Returns a command that runs this one by way of the shell, after `setup`.
pub fn after(setup: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}
