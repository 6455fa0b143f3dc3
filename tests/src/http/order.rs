//! What the client is told to ask and what it tells, as lines of JSON.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Names and values in the order of the wire.
pub type Fields = Vec<(String, String)>;

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, known beforehand.
    Http2,
}

/// Both versions: what holds for one must hold for the other.
pub const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

/// A line to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// Ask this.
    Ask(Box<Order>),
    /// Go away from that request, wherever it is.
    Leave(u64),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Tells its replies from those to others.
    pub id: u64,
    /// Where to connect to.
    pub to: SocketAddr,
    /// In which version.
    pub version: Version,
    /// Name of the connection to use, and to keep for others; without one the request has a connection of its own.
    pub connection: Option<String>,
    /// The name to ask for in TLS; without one there is no TLS.
    pub server_name: Option<String>,
    /// The method.
    pub method: String,
    /// Path and query as they go on the wire.
    pub target: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// Other headers.
    pub headers: Fields,
    /// The body.
    pub content: Content,
    /// Fields after the body.
    pub trailers: Fields,
    /// Waits so long before it reads the answer's body.
    pub stall_milliseconds: u64,
    /// The longest that all of it may take.
    pub within_milliseconds: u64,
}

/// The body of a request, or what goes on in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// None.
    Nothing,
    /// This text.
    Text(String),
    /// So many octets of the known pattern, whose number is not said beforehand if it is `chunked`.
    Octets {
        /// How many.
        length: u64,
        /// No `Content-Length`.
        chunked: bool,
    },
    /// A call of gRPC with these messages.
    Messages(Vec<String>),
    /// A gRPC stream on which messages go to and fro, this far apart, until the server ends it.
    Conversation {
        /// Between two messages.
        every_milliseconds: u64,
    },
    /// The same over a WebSocket.
    WebSocket {
        /// Between two messages.
        every_milliseconds: u64,
    },
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Of which.
    pub id: u64,
    /// What happened.
    pub event: Event,
}

/// See [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A conversation has begun.
    Opened(Head),
    /// So many messages have come back.
    Round(u64),
    /// The answer is whole; the last of an order.
    Answered(Box<Answer>),
    /// It failed; the last of an order.
    Failed(Failed),
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The client's own address, which tells connections apart.
    pub local: SocketAddr,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Fields,
    /// The statuses of interim answers.
    pub interim: Vec<u16>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Fields after the body.
    pub trailers: Fields,
    /// The beginning of the body, as text, unless it was the known pattern.
    pub text: String,
    /// Length of the body.
    pub length: u64,
    /// Whether the body was the known pattern.
    pub intact: bool,
    /// The messages, of a gRPC call.
    pub messages: Vec<String>,
    /// How long it all took.
    pub milliseconds: u64,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// `connect`, `ask`, `read`, `converse` or `wait`.
    pub step: String,
    /// What was said of it.
    pub problem: String,
    /// What had come of the answer by then.
    pub status: Option<u16>,
    /// Octets of the answer's body, or messages that had come back.
    pub received: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// What the server tells of a request, as the JSON body of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The pod's name.
    pub pod: String,
    /// The client's address as the server's socket has it.
    pub peer: SocketAddr,
    /// In which version the request came.
    pub version: Version,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Its `Host` or `:authority`.
    pub authority: String,
    /// Its headers but for `Host`.
    pub headers: Fields,
    /// The beginning of its body, as text, unless it was the known pattern.
    pub text: String,
    /// Length of its body.
    pub length: u64,
    /// Whether its body was the known pattern.
    pub intact: bool,
    /// Fields after its body.
    pub trailers: Fields,
}

/// The first value of a field; empty where there is none.
#[must_use]
pub fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// All values of a field.
#[must_use]
pub fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    let named = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}
