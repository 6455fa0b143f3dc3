//! TCP: says who it is as soon as something comes, and gives back what comes.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Ends, Server};
use crate::echo_advanced::{Failure, lines::Lines};

pub(super) async fn serve(mut stream: TcpStream, ends: Ends, server: &Server) -> Result<(), Failure> {
    let mut chunk = vec![0; 4096];
    let mut first = true;
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        if std::mem::take(&mut first) {
            let mut lines = Lines::default();
            lines.tell("StatusCode", 200);
            server.place(&mut lines, ends);
            lines.caller(ends.caller);
            lines.tell("Proto", "TCP");
            server.sign(&mut lines);
            stream.write_all(lines.into_text().as_bytes()).await?;
        }
        stream.write_all(&chunk[..read]).await?;
    }
}
