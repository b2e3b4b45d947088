//! A little HTTP, for the sandbox's control endpoint and the façade's metrics.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::Fallible;

/// Sends a request on a connection of its own; returns the body of a successful response.
pub async fn exchange(to: SocketAddr, method: &str, path: &str, body: &str) -> Fallible<String> {
    let mut connection = TcpStream::connect(to).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    connection.read_to_string(&mut response).await?;
    let (head, body) = response.split_once("\r\n\r\n").ok_or("no response")?;
    match head.strip_prefix("HTTP/1.1 2") {
        Some(_) => Ok(body.to_owned()),
        None => Err(format!("{method} {path}: {head}").into()),
    }
}
