//! Raw TCP: echoes, and answers `WHO`.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Shared, accept, who};

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, peer) = accept(&listener, &shared).await;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = talk(stream, peer, &shared).await {
                println!("{peer}: {error}");
            }
        });
    }
}

async fn talk(mut stream: TcpStream, peer: SocketAddr, shared: &Shared) -> std::io::Result<()> {
    let local = stream.local_addr().ok();
    if shared.args.speak_first {
        shared.delay().await;
        stream.write_all(format!("hello from {}\n", shared.hostname).as_bytes()).await?;
    }
    // Boxed late: an idle connection holds no buffer worth mentioning.
    let mut chunk = vec![0; 512];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        shared.delay().await;
        if chunk[..read].trim_ascii() == b"WHO" {
            stream.write_all(who(peer, local, shared).as_bytes()).await?;
        } else {
            stream.write_all(&chunk[..read]).await?;
        }
        if read == chunk.len() && read < 64 * 1024 {
            chunk.resize(read * 2, 0);
        }
    }
}
