//! Where the access log goes, a file that is bounded by rotation or the standard output: written by a thread of its own.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A file of this many bytes is put aside.
pub(super) const ROTATE_AT: u64 = 16 << 20;
/// How many that were put aside are kept: `access.log.1` is the latest.
const KEPT: u32 = 4;
/// Lines that may wait for the disk; more are lost, and counted.
const QUEUE: usize = 8192;
/// How often lines that wait in memory are written although nobody waits for them.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// The access log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("access log {path}: {source}")]
pub(crate) struct AccessLogError {
    path: PathBuf,
    source: io::Error,
}

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// To a file, which is put aside when it is large.
    File(PathBuf),
    /// To the standard output, where a container's runtime bounds what it keeps.
    StandardOutput,
}

impl From<&str> for Place {
    fn from(text: &str) -> Self {
        if text == "-" { Self::StandardOutput } else { Self::File(text.into()) }
    }
}

/// The way to the file. Dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub(super) struct Writer {
    lines: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the place and starts the thread. A file of `rotate_at` bytes is put aside.
    pub(super) fn start(place: Place, rotate_at: u64) -> Result<Self, AccessLogError> {
        let mut log = Log::open(place, rotate_at)?;
        let (lines, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || log.run(&queue))
            .map_err(|source| AccessLogError { path: PathBuf::from("thread"), source })?;
        Ok(Self { lines: Some(lines), thread: Some(thread) })
    }

    /// Hands a line over; false when it is lost because the disk is behind.
    pub(super) fn write(&mut self, line: String) -> bool {
        self.lines.as_ref().is_some_and(|lines| match lines.try_send(line) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Log {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
    rotate_at: u64,
}

impl Log {
    fn open(place: Place, rotate_at: u64) -> Result<Self, AccessLogError> {
        let (path, opened) = match place {
            Place::File(path) => {
                let opened = append(&path).and_then(|file| Ok((file.metadata()?.len(), file, rotate_at)));
                (path, opened)
            }
            Place::StandardOutput => {
                let output = io::stdout().as_fd().try_clone_to_owned();
                (PathBuf::from("on the standard output"), output.map(|output| (0, output.into(), u64::MAX)))
            }
        };
        match opened {
            Ok((written, file, rotate_at)) => {
                Ok(Self { path, file: BufWriter::new(file), written, rotate_at })
            }
            Err(source) => Err(AccessLogError { path, source }),
        }
    }

    fn run(&mut self, queue: &Receiver<String>) {
        use std::sync::mpsc::RecvTimeoutError;
        let mut failing = false;
        loop {
            let result = match queue.recv_timeout(FLUSH_EVERY) {
                Ok(line) => self.write(&line),
                Err(RecvTimeoutError::Timeout) => self.file.flush(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match result {
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(path = %self.path.display(), %error, "access log lines are lost");
                }
                Err(_) => {}
                Ok(()) => failing = false,
            }
        }
        let _ = self.file.flush();
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.written >= self.rotate_at {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")?;
        self.written += line.len() as u64 + 1;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let aside = |number: u32| -> PathBuf {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            name.into()
        };
        for number in (1..KEPT).rev() {
            match rename(aside(number), aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        rename(&self.path, aside(1))?;
        self.file = BufWriter::new(append(&self.path)?);
        self.written = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Place, Writer};
    use std::fs;

    #[test]
    fn a_place_is_a_path_or_the_standard_output() {
        assert_eq!(Place::from("-"), Place::StandardOutput);
        assert_eq!(Place::from("/run/-"), Place::File("/run/-".into()));
    }

    #[test]
    fn the_log_is_bounded_by_rotation_and_loses_no_line_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let mut writer = Writer::start(Place::File(path.clone()), 100).unwrap();
        for number in 0..60 {
            assert!(writer.write(format!("line {number:04}")));
        }
        drop(writer);
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display())).unwrap();
        let all: String = ["", ".1", ".2", ".3", ".4"].iter().rev().map(|&suffix| read(suffix)).collect();
        let expected: String = (10..60).map(|number| format!("line {number:04}\n")).collect();
        assert_eq!(all, expected);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), KEPT as usize + 1);
    }
}
