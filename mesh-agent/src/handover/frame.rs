//! Length-prefixed frames.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// The longest body of a frame, bytes. A policy set of 100,000 entries fits.
pub(crate) const FRAME_LIMIT: u32 = 16 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The socket failed or was closed.
    #[error("handover socket: {0}")]
    Io(#[from] io::Error),
    /// The peer announced more than [`FRAME_LIMIT`].
    #[error("handover frame of {0} bytes is over the limit of {FRAME_LIMIT}")]
    TooLong(u64),
    /// The body is not a message of this version.
    #[error("handover frame does not decode: {0}")]
    Decode(#[source] postcard::Error),
    /// The message could not be encoded.
    #[error("handover message does not encode: {0}")]
    Encode(#[source] postcard::Error),
}

/// Reads one message.
///
/// # Errors
/// When the socket fails, ends, or sends what is no message.
pub(crate) fn read_frame<M: DeserializeOwned>(from: &mut impl Read) -> Result<M, FrameError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_LIMIT {
        return Err(FrameError::TooLong(u64::from(length)));
    }
    // Grows as bytes arrive: an announced length alone reserves nothing.
    let mut body = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut body)?;
    if body.len() < length as usize {
        return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    postcard::from_bytes(&body).map_err(FrameError::Decode)
}

/// Writes one message.
///
/// # Errors
/// When the socket fails or the message is over the limit.
pub(crate) fn write_frame<M: Serialize>(to: &mut impl Write, message: &M) -> Result<(), FrameError> {
    let body = postcard::to_stdvec(message).map_err(FrameError::Encode)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|&length| length <= FRAME_LIMIT)
        .ok_or(FrameError::TooLong(body.len() as u64))?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)?;
    Ok(())
}
