//! Random bytes from the TLS library's generator.

use rustls::crypto::aws_lc_rs;

/// The system gave no random bytes, so nothing can be made that must not be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandom;

/// Bytes that nobody can guess.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    let provider = aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// Bytes as text: two digits each.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
