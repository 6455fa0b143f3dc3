//! Frames of the handover, read and written without blocking.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::handover::{FRAME_LIMIT, FrameError, write_frame};

/// Reads one message.
///
/// # Errors
/// When the socket fails, ends, or sends what is no message.
pub(in crate::relay) async fn read<M: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<M, FrameError> {
    let length = from.read_u32_le().await?;
    if length > FRAME_LIMIT {
        return Err(FrameError::TooLong(u64::from(length)));
    }
    // Grows as bytes arrive: an announced length alone reserves nothing.
    let mut body = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut body).await?;
    if body.len() < length as usize {
        return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    postcard::from_bytes(&body).map_err(FrameError::Decode)
}

/// Writes one message.
///
/// # Errors
/// When the socket fails or the message is over the limit.
pub(in crate::relay) async fn write<M: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &M,
) -> Result<(), FrameError> {
    let mut frame = Vec::new();
    write_frame(&mut frame, message)?;
    to.write_all(&frame).await?;
    Ok(())
}
