//! Standard error, written without waiting for whoever reads it.
//!
//! Its open file is shared with other processes, so `O_NONBLOCK` must not be set on it: it would
//! apply to them too. A pipe or a terminal is opened once more, which Linux allows by way of
//! `/proc`; where that fails, and for a socket, each write first asks whether there is room. A file
//! or a device such as `/dev/null` takes every write.

use std::{
    fs::File,
    io::{self, ErrorKind, Write as _},
    os::fd::AsFd as _,
    sync::OnceLock,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::PIPE_BUF,
};

use super::output::Destination;

/// Standard error.
#[derive(Debug)]
pub(super) struct Stderr {
    /// `None` if the process has no standard error.
    file: Option<File>,
    way: Way,
    is_pipe: bool,
}

/// How it is written.
#[derive(Debug)]
enum Way {
    /// Every write is taken.
    Plainly,
    /// An open file of this process alone does not block.
    Nonblocking,
    /// There is room for [`PIPE_BUF`] bytes if the system says that there is any.
    Polled,
}

/// Returns standard error.
pub(super) fn stderr() -> &'static Stderr {
    static STDERR: OnceLock<Stderr> = OnceLock::new();
    STDERR.get_or_init(|| match io::stderr().as_fd().try_clone_to_owned() {
        Ok(file) => Stderr::of(file.into()),
        Err(_) => Stderr { file: None, way: Way::Plainly, is_pipe: false },
    })
}

impl Stderr {
    fn of(file: File) -> Self {
        use std::{io::IsTerminal as _, os::unix::fs::FileTypeExt as _};

        let kind = file.metadata().map(|it| it.file_type());
        let is_pipe = kind.as_ref().is_ok_and(|kind| kind.is_fifo());
        let may_block = is_pipe || kind.is_ok_and(|kind| kind.is_socket()) || file.is_terminal();
        let (file, way) = match may_block.then(|| reopen(&file)) {
            None => (file, Way::Plainly),
            Some(Ok(own)) => (own, Way::Nonblocking),
            Some(Err(_)) => (file, Way::Polled),
        };
        Self { file: Some(file), way, is_pipe }
    }

    /// Waits until standard error takes more, or fails.
    pub(super) fn wait(&self) {
        self.poll(None);
    }

    /// Returns whether standard error takes more, or fails, before the timeout.
    fn poll(&self, timeout: Option<&Timespec>) -> bool {
        let Some(file) = &self.file else { return true };
        let mut polled = [PollFd::new(file, PollFlags::OUT)];
        // What cannot be asked is written, and says then what is wrong.
        poll(&mut polled, timeout).map_or(true, |ready| ready > 0)
    }
}

impl Destination for &Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut file) = self.file.as_ref() else { return Err(ErrorKind::NotConnected.into()) };
        match self.way {
            Way::Plainly | Way::Nonblocking => file.write(bytes),
            Way::Polled if self.poll(Some(&Timespec::default())) => {
                file.write(&bytes[..bytes.len().min(PIPE_BUF)])
            }
            Way::Polled => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn room(&self) -> usize {
        match (&self.way, &self.file) {
            (Way::Plainly, _) => usize::MAX,
            (_, Some(file)) if self.is_pipe => {
                // Whoever has the pipe may change it.
                let capacity = capacity(file).unwrap_or(0);
                let queued = rustix::io::ioctl_fionread(file).ok();
                let queued = queued.and_then(|it| usize::try_from(it).ok()).unwrap_or(capacity);
                // A pipe holds pages. Two that follow each other hold more than one page of bytes
                // together, apart from the first and the last.
                capacity.saturating_sub(2 * queued + 2 * rustix::param::page_size())
            }
            _ => 0,
        }
    }
}

/// Opens what this file has open once more.
#[cfg(target_os = "linux")]
fn reopen(file: &File) -> io::Result<File> {
    use std::os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _};

    use rustix::fs::OFlags;

    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().write(true).custom_flags(flags.cast_signed()).open(path)
}

#[cfg(not(target_os = "linux"))]
fn reopen(_: &File) -> io::Result<File> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn capacity(pipe: &File) -> Option<usize> {
    rustix::pipe::fcntl_getpipe_size(pipe).ok()
}

#[cfg(not(target_os = "linux"))]
fn capacity(_: &File) -> Option<usize> {
    None
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, pipe},
        os::fd::OwnedFd,
    };

    use rustix::{
        fs::{OFlags, fcntl_getfl},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    };

    use super::*;
    use crate::telemetry::counts::Loss;

    const LINE: &[u8] = &[b'x'; 100];

    /// Writes until nothing more is taken. Returns how much that was.
    fn fill(mut stderr: &Stderr) -> usize {
        let mut written = 0;
        loop {
            match stderr.write(LINE) {
                Ok(more) => written += more,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return written;
                }
            }
        }
    }

    #[test]
    fn a_pipe_that_is_not_read_blocks_no_write_of_this_process_and_those_of_others_still_wait() {
        for is_reopened in [true, false] {
            let (mut reader, writer) = pipe().unwrap();
            let shared = writer.try_clone().unwrap();
            let mut stderr = Stderr::of(File::from(OwnedFd::from(writer)));
            assert!(matches!(stderr.way, Way::Nonblocking));
            if !is_reopened {
                stderr.file = Some(File::from(OwnedFd::from(shared.try_clone().unwrap())));
                stderr.way = Way::Polled;
            }
            let capacity = capacity(stderr.file.as_ref().unwrap()).unwrap();
            assert_eq!((&stderr).room(), capacity - 2 * rustix::param::page_size());

            let written = fill(&stderr);

            assert!(written > capacity / 2, "{written}");
            assert_eq!((&stderr).room(), 0);
            assert!(!stderr.poll(Some(&Timespec::default())));
            assert!(!fcntl_getfl(&shared).unwrap().contains(OFlags::NONBLOCK));
            let mut read = vec![0; written];
            reader.read_exact(&mut read).unwrap();
            stderr.wait();
            assert_eq!((&stderr).write(LINE).unwrap(), LINE.len());
        }
    }

    #[test]
    fn as_much_as_a_pipe_is_said_to_take_it_takes() {
        for size in [1, 100, 2100, 4095, 4096, 5000] {
            let (mut reader, writer) = pipe().unwrap();
            let stderr = Stderr::of(File::from(OwnedFd::from(writer)));
            let mut others = stderr.file.as_ref().unwrap().try_clone().unwrap();
            let line = vec![b'x'; size];
            // What is left of a page that is read in part is not used again.
            others.write_all(&vec![b'x'; 4097]).unwrap();
            reader.read_exact(&mut vec![0; 4096]).unwrap();
            while (&stderr).room() > size {
                assert_eq!((&stderr).write(&line).unwrap(), size);
                let room = (&stderr).room();
                if room > 0 && fastrand::u8(..) < 16 {
                    assert_eq!((&stderr).write(&vec![b'x'; room]).unwrap(), room);
                }
            }
        }
    }

    #[test]
    fn a_terminal_that_is_not_read_blocks_no_write() {
        let reader = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&reader).unwrap();
        unlockpt(&reader).unwrap();
        let name = ptsname(&reader, Vec::new()).unwrap();
        let terminal = File::options().write(true).open(name.to_str().unwrap()).unwrap();
        let stderr = Stderr::of(terminal);
        assert!(matches!(stderr.way, Way::Nonblocking));

        let written = fill(&stderr);

        assert!(written > 0);
        let mut reader = File::from(reader);
        let mut bytes = vec![0; written];
        reader.read_exact(&mut bytes).unwrap();
        stderr.wait();
        assert!((&stderr).write(LINE).unwrap() > 0);
    }

    #[test]
    fn a_closed_pipe_and_a_full_device_fail_and_do_not_block() {
        let (reader, writer) = pipe().unwrap();
        let closed = Stderr::of(File::from(OwnedFd::from(writer)));
        drop(reader);
        let full = Stderr::of(File::options().write(true).open("/dev/full").unwrap());
        for (mut stderr, loss) in [(&closed, Loss::Closed), (&full, Loss::Full)] {
            stderr.wait();

            let error = stderr.write(LINE).unwrap_err();

            assert_eq!(Loss::of(&error), loss);
        }
    }

    #[test]
    fn a_file_is_said_to_take_everything() {
        let file = Stderr::of(tempfile::tempfile().unwrap());

        assert_eq!((&file).room(), usize::MAX);
        assert_eq!((&file).write(LINE).unwrap(), LINE.len());
    }
}
