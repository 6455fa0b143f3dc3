//! Running the system's own tools (`ip`, `nft`): their complaint becomes our error.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// A tool that could not be run or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("cannot run `{tool}`: {source}; on Debian or Ubuntu: apt-get install iproute2 nftables")]
    Start {
        /// The tool's name.
        tool: String,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` failed: {complaint}; its input was:\n{input}")]
    Failed {
        /// The command line.
        command: String,
        /// What it said.
        complaint: String,
        /// What it was given on standard input.
        input: String,
    },
}

/// Runs `command` with `input` on its standard input and gives its standard output.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn run(mut command: Command, input: &str) -> Result<String, Error> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let start = |source| Error::Start { tool: tool.clone(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that stops reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut shown = tool.clone();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    Err(Error::Failed {
        command: shown,
        complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        input: input.to_owned(),
    })
}

/// Runs lines of `ip` in the network namespace of that name, or in the caller's.
///
/// # Errors
/// As [`run`].
pub fn ip(netns: Option<&str>, lines: &[String]) -> Result<(), Error> {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-netns", netns]);
    }
    command.args(["-batch", "-"]);
    run(command, &(lines.join("\n") + "\n")).map(drop)
}
