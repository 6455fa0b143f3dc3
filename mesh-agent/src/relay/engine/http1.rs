//! HTTP/1.1, by a codec of our own over `httparse`.
//!
//! | module | what it does |
//! |---|---|
//! | [`head`] | heads, read strictly and written |
//! | [`framing`], [`chunked`] | where bodies end, and the chunked coding |
//! | [`wire`], [`body`] | a connection's two halves, and bodies on them |

pub(crate) mod body;
pub(crate) mod chunked;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod wire;

pub(crate) use body::{Body, Outgoing};
