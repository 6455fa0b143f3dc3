//! What the L7 engine decides about a request, without its I/O.
//!
//! Nothing here reads a socket, a clock or a random number: bytes, times and random numbers are
//! arguments, so that every decision is tested against a naive reading of its specification. The
//! engine around it (`mesh-agent`'s `relay/engine`) reads HTTP from sockets, asks these functions, and
//! does what they say.
//!
//! A request meets them in this order:
//!
//! | module | what it decides |
//! |---|---|
//! | [`detect`] | whether a connection's first bytes are HTTP/1, HTTP/2, TLS or none of them |
//! | [`head`] | whether a request's head is one that every server reads alike; else the status |
//! | [`path`], [`host`] | the one form of path and host that routing, access and the server see |
//! | [`access`] | whether the caller may make this request, and which policy and rule say so |
//! | [`matching`], [`table`] | which rule of the routes it gets |
//! | [`filter`] | what the rule's filters make of it, or answer at once |
//! | [`pick`] | which backend, and which of its endpoints |
//! | [`timeouts`], [`retry`] | how long, and whether again |
//! | [`ids`] | the identifiers by which it is found again in logs |

pub mod access;
pub mod detect;
pub mod filter;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod head;
pub mod host;
pub mod ids;
pub mod matching;
pub mod path;
pub mod pick;
pub mod request;
pub mod retry;
pub mod table;
pub mod timeouts;
