//! A GET as small as the mesh's own endpoints need: HTTP/1.1, the whole answer, one connection.

use std::io::{Read, Write};

use super::Error;

/// Sends the request over `stream` and gives the body of a 200.
pub(crate) fn get(mut stream: impl Read + Write, path: &str) -> Result<String, Error> {
    let failed = |problem: String| Error::Http { path: path.to_owned(), problem };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| failed("the answer is not HTTP".to_owned()))?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        return Err(failed(format!("{status}: {body}")));
    }
    let chunked = head.lines().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    if chunked { Ok(unchunk(body)) } else { Ok(body.to_owned()) }
}

/// Joins chunks (RFC 9112, 7.1).
fn unchunk(mut body: &str) -> String {
    let mut joined = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Some(chunk) = usize::from_str_radix(size.trim(), 16)
            .ok()
            .filter(|size| *size > 0)
            .and_then(|size| rest.get(..size))
        else {
            break;
        };
        joined.push_str(chunk);
        body = rest[chunk.len()..].trim_start_matches("\r\n");
    }
    joined
}
