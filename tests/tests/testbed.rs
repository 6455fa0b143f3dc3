//! The testbed itself, without the mesh: what tests and the demo rely on. Needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails right there")]

#[path = "testbed/cleanup.rs"]
mod cleanup;
#[path = "testbed/live.rs"]
mod live;
#[path = "testbed/network.rs"]
mod network;
#[path = "testbed/pods.rs"]
mod pods;

use std::{process::Output, time::Duration};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// What a command printed, if it succeeded.
fn printed(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}
