//! How one wire takes another's place while both run: the newer asks over a socket in the node's run directory, the
//! older stops, lets go of the pins and says which processes are the agent's; only then it answers.
//!
//! One frame each way. The socket is root's: whoever is asked, and whoever asks, must be this process's own user, since
//! relay's may put files into that directory too. What is asked is versioned by itself: two builds whose exchange with
//! relay or whose maps differ take over from each other all the same.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use super::endpoint::{self, EndpointError};
use super::given::Given;
use super::signal::Signal;
use crate::handover::{FrameError, read_frame, write_frame};

/// Name of the socket in the node's run directory.
pub(super) const NAME: &str = "takeover.sock";

/// Version of this exchange.
const VERSION: u16 = 1;
/// How long whoever asked may take to say what.
const HEAR_WITHIN: Duration = Duration::from_secs(2);
/// How long a wire may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    version: u16,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Given(Given),
    Refused { why: String },
}

/// Why another wire did not give way.
#[derive(Debug, thiserror::Error)]
#[error(
    "another mesh-agent wire holds the pins and does not give way at {}: {why}; end that one (in Kubernetes: delete the older pod of the agent on this node), then this one starts",
    path.display()
)]
pub(super) struct TakeoverError {
    path: PathBuf,
    why: String,
}

/// Asks the wire that listens at `path` to give way.
///
/// # Errors
/// When none is there, it does not stop in time, or refuses.
pub(super) fn ask(path: &Path) -> Result<Given, TakeoverError> {
    let failed = |why: String| TakeoverError { path: path.to_owned(), why };
    let stream = UnixStream::connect(path).map_err(|error| failed(error.to_string()))?;
    match exchange(stream) {
        Ok(Answer::Given(given)) => Ok(given),
        Ok(Answer::Refused { why }) => Err(failed(why)),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn exchange(mut stream: UnixStream) -> Result<Answer, FrameError> {
    endpoint::is_own(&stream)?;
    stream.set_write_timeout(Some(HEAR_WITHIN))?;
    stream.set_read_timeout(Some(STOP_WITHIN + HEAR_WITHIN))?;
    write_frame(&mut stream, &Request { version: VERSION })?;
    read_frame(&mut stream)
}

/// Where the next wire asks this one to give way.
#[derive(Debug)]
pub(super) struct Takeover(UnixListener);

impl Takeover {
    /// Listens at `path`, in place of whatever an earlier wire left there.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(super) fn bind(path: &Path) -> Result<Self, EndpointError> {
        endpoint::place(path, Uid::effective().as_raw(), |path| UnixListener::bind(path)).map(Self)
    }

    /// Hears who asks, one at a time, on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(super) fn start(self, signals: SyncSender<Signal>) -> io::Result<()> {
        thread::Builder::new().name("takeover".to_owned()).spawn(move || {
            for stream in self.0.incoming() {
                if let Err(error) = stream.map_err(FrameError::from).and_then(|stream| hear(stream, &signals))
                {
                    tracing::warn!(%error, "who asked for the place of this wire was not answered");
                }
            }
        })?;
        Ok(())
    }
}

fn hear(mut stream: UnixStream, signals: &SyncSender<Signal>) -> Result<(), FrameError> {
    endpoint::is_own(&stream)?;
    stream.set_read_timeout(Some(HEAR_WITHIN))?;
    stream.set_write_timeout(Some(HEAR_WITHIN))?;
    let Request { version } = read_frame(&mut stream)?;
    let answer = if version == VERSION {
        stop(signals)
    } else {
        Err(format!("it takes over by version {VERSION} of the exchange, it was asked by version {version}"))
    };
    write_frame(&mut stream, &answer.map_or_else(|why| Answer::Refused { why }, Answer::Given))
}

/// Has the loop stop.
fn stop(signals: &SyncSender<Signal>) -> Result<Given, String> {
    let (successor, stopped) = sync_channel(1);
    let asked = signals.send(Signal::GiveWay(successor)).is_ok();
    let given = asked.then(|| stopped.recv_timeout(STOP_WITHIN).ok()).flatten();
    given.ok_or_else(|| "it has given way to another one already, or does not stop".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::given::Given;
    use super::super::signal::{Signal, signals};
    use super::{Answer, NAME, Request, Takeover, ask, read_frame, write_frame};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_wire_answers_once_it_has_stopped_and_another_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let (sender, _, inbox) = signals();
        Takeover::bind(&path).unwrap().start(sender).unwrap();

        let mut other = UnixStream::connect(&path).unwrap();
        write_frame(&mut other, &Request { version: 9 }).unwrap();
        let refused: Answer = read_frame(&mut other).unwrap();
        assert!(matches!(&refused, Answer::Refused { why } if why.contains("version 9")), "{refused:?}");

        let given = Given::new(vec![1, 2]);
        let asking = std::thread::spawn({
            let path = path.clone();
            move || ask(&path)
        });
        let Signal::GiveWay(successor) = inbox.wait() else { panic!("it was asked to give way") };
        assert!(!asking.is_finished(), "not before it has stopped");
        successor.send(given.clone()).unwrap();
        assert_eq!(asking.join().unwrap().unwrap(), given);

        // One that has stopped already lets go of whoever asks again.
        let asking = std::thread::spawn({
            let path = path.clone();
            move || ask(&path)
        });
        drop(inbox.wait());
        let error = asking.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("has given way") && error.contains("delete the older pod"), "{error}");
        drop(inbox);
        assert!(ask(&path.with_extension("none")).unwrap_err().to_string().contains("No such file"));
    }
}
