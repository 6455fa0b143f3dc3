//! A call over TCP: a text there, whatever comes until the server is done.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Answered, TEXT, Target};
use crate::echo_advanced::{BODY_LIMIT, Failure};

pub(super) async fn call(target: &Target) -> Result<Answered, Failure> {
    let mut stream = target.connect().await?;
    let mut answered = Answered::default();
    answered.seen.tell("SourceIP", stream.local_addr()?.ip().to_canonical());
    answered.seen.tell("Url", &target.url);
    answered.seen.tell("Echo", TEXT);
    stream.write_all(format!("{TEXT}\n").as_bytes()).await?;
    stream.shutdown().await?;
    stream.take(BODY_LIMIT as u64).read_to_string(&mut answered.body).await?;
    if answered.body.is_empty() {
        return Err("closed without an answer".into());
    }
    Ok(answered)
}
