//! Clients' connections, by version: heads are read, each request is an
//! [exchange](super::exchange), and the connection is left in order.

pub(crate) mod http1;
pub(crate) mod http2;
