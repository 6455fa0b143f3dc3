//! A request on its way, and one attempt at it: what the stages of forwarding share.

use std::net::SocketAddr;
use std::rc::Rc;

use mesh_l7::timeouts::Deadline;

use super::Session;
use super::decide::Forward;

/// What is to be forwarded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Its head, in the one form, as it was decided that it goes on.
    pub head: &'a http::Request<()>,
    /// It asks for a WebSocket.
    pub websocket: bool,
    /// It calls a gRPC method.
    pub grpc: bool,
}

/// An attempt.
pub(super) struct Attempt<'a> {
    pub(super) session: &'a Rc<Session>,
    pub(super) request: Request<'a>,
    pub(super) forward: &'a Forward,
    pub(super) endpoint: SocketAddr,
    pub(super) deadline: Option<Deadline>,
}
