//! Where gRPC is served: an IP address with a port, or the path of a Unix domain socket.

use std::{fmt, net::SocketAddr, path::PathBuf};

/// An address that a façade listens on, or is called at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address with a port.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether this is the path of a socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads `unix:PATH` or `unix:///PATH`, gRPC's spellings; `None` for any other text.
///
/// # Errors
///
/// Says what is wrong with the path.
pub fn unix(text: &str) -> Option<Result<Address, String>> {
    if text.starts_with("unix-abstract:") || text.starts_with("unix:@") {
        return Some(Err("must be a path: an abstract socket has no permissions".to_owned()));
    }
    let rest = text.strip_prefix("unix:")?;
    let path = match rest.strip_prefix("//") {
        Some(path) if !path.starts_with('/') => {
            return Some(Err("must be unix:PATH or unix:///PATH".to_owned()));
        }
        Some(path) => path,
        None => rest,
    };
    Some(check(path).map(|()| Address::Unix(path.into())))
}

#[cfg(unix)]
fn check(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("names no path after unix:".to_owned());
    }
    let fits = std::os::unix::net::SocketAddr::from_pathname(path);
    fits.map(drop).map_err(|error| match path.len() {
        length @ 100.. => format!(
            "has a path of {length} bytes, longer than a socket may have (107 bytes on Linux)"
        ),
        _ => error.to_string(),
    })
}

#[cfg(not(unix))]
fn check(_: &str) -> Result<(), String> {
    Err("is a Unix socket, which this system does not have".to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_as_grpc_names_it_by_a_path_that_fits() {
        let long = format!("/{}", "x".repeat(200));
        for (text, expected) in [
            ("unix:/run/grpc.sock", Ok("/run/grpc.sock")),
            ("unix:///run/grpc.sock", Ok("/run/grpc.sock")),
            ("unix:grpc.sock", Ok("grpc.sock")),
            ("unix:", Err("no path")),
            ("unix://", Err("unix:///PATH")),
            ("unix://host/grpc.sock", Err("unix:///PATH")),
            ("unix:@name", Err("abstract")),
            ("unix-abstract:name", Err("abstract")),
            (&format!("unix:{long}"), Err("201 bytes")),
            ("unix:/a\0b", Err("")),
        ] {
            let read = unix(text).expect("a socket");

            match (read, expected) {
                (Ok(address), Ok(path)) => {
                    assert_eq!(address.to_string(), format!("unix:{path}"), "{text}");
                }
                (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        for text in ["127.0.0.1:1", "http://unix:1", "unixoid:1", ""] {
            assert_eq!(unix(text), None, "{text}");
        }
    }
}
