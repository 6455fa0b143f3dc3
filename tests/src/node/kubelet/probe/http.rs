//! `httpGet`: one HTTP/1.1 request on a connection of its own, of which only the status line is read.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use k8s_openapi::api::core::v1::HTTPGetAction;

use super::Failure;

/// More than any status line.
const STATUS_LINE_LIMIT: usize = 1024;

pub(super) fn get(address: SocketAddr, get: &HTTPGetAction, timeout: Duration) -> Result<(), Failure> {
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let failed = |error: std::io::Error| format!("httpGet {address}{path}: {error}");
    let status = status(address, &request(address, path, get), timeout).map_err(failed)?;
    match status {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("httpGet {address}{path}: status {code}")),
        None => Err(format!("httpGet {address}{path}: the answer is not HTTP")),
    }
}

fn request(address: SocketAddr, path: &str, get: &HTTPGetAction) -> String {
    let headers = get.http_headers.clone().unwrap_or_default();
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nUser-Agent: kube-probe/mesh-testbed\r\nAccept: */*\r\nConnection: close\r\n"
    );
    if !headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for header in headers {
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    request + "\r\n"
}

fn status(address: SocketAddr, request: &str, timeout: Duration) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request.as_bytes())?;
    let (mut line, mut chunk) = (Vec::new(), [0; 256]);
    while !line.contains(&b'\n') && line.len() < STATUS_LINE_LIMIT {
        match stream.read(&mut chunk)? {
            0 => break,
            read => line.extend_from_slice(&chunk[..read]),
        }
    }
    let text = String::from_utf8_lossy(&line);
    let mut words = text.split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    Ok(words.next().filter(|_| is_http).and_then(|code| code.parse().ok()))
}
