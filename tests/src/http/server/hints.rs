//! A server that answers in two steps (RFC 8297), which the library cannot: it is written by hand, one request a
//! connection.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Shared, accept};

/// Longest head that is read.
const HEAD: usize = 16 << 10;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, peer) = accept(&listener).await;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &shared.pod).await {
                println!("{peer}: {error}");
            }
        });
    }
}

async fn answer(mut stream: TcpStream, pod: &str) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n").await?;
    stream.flush().await?;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (length, close) = (pod.len(), "connection: close");
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{close}\r\n\r\n{pod}");
    stream.write_all(whole.as_bytes()).await?;
    stream.shutdown().await
}
