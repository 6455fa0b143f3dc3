//! The request headers by which the server is told what to do. Values are whole numbers, unless they say otherwise.

/// Answer with this status.
pub const STATUS: &str = "x-steer-status";
/// Answer so many requests with this [`KEY`] with [`STATUS`] (503 if there is none), and the others with 200.
pub const FAIL: &str = "x-steer-fail";
/// What [`FAIL`] counts by; the answer tells with [`COUNT`] how many came before.
pub const KEY: &str = "x-steer-key";
/// A header of the answer, see [`KEY`].
pub const COUNT: &str = "x-steered-count";
/// Wait so many milliseconds before the head of the answer.
pub const DELAY: &str = "x-steer-delay";
/// Wait so many milliseconds between the head of the answer and its body.
pub const PAUSE: &str = "x-steer-pause";
/// Read nothing of the request's body for so many milliseconds.
pub const STALL: &str = "x-steer-stall";
/// Answer with so many octets of the known pattern.
pub const OCTETS: &str = "x-steer-octets";
/// Answer in so many pieces without saying how long it all is.
pub const PIECES: &str = "x-steer-pieces";
/// Add this header to the answer, `NAME=VALUE`; several times.
pub const HEADER: &str = "x-steer-header";
/// Add this field after the answer's body, `NAME=VALUE`; several times.
pub const TRAILER: &str = "x-steer-trailer";
/// The `grpc-status` of a call.
pub const GRPC_STATUS: &str = "x-steer-grpc-status";
/// Break the connection in place of an answer; the value does not matter.
pub const BREAK: &str = "x-steer-break";
