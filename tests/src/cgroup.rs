//! Control groups (cgroup2 only): made for nodes, pods and containers, joined by what runs there, and the one reliable
//! way to end all of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::unistd::Pid;

/// How long the kernel may take to let go of killed processes.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A failed operation on a control group.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the control group {}: {source}", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error { what, path: path.to_owned(), source }
}

/// Makes the control group and those above it.
///
/// # Errors
/// If the kernel refuses.
pub fn create(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(failed("make", path))
}

/// Moves the calling process into it.
///
/// # Errors
/// If the kernel refuses.
pub fn join(path: &Path) -> Result<(), Error> {
    fs::write(path.join("cgroup.procs"), "0").map_err(failed("join", path))
}

/// The processes in it, not those below; empty if it does not exist.
#[must_use]
pub fn processes(path: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// Ends every process in it and below, at once (`cgroup.kill`: forks cannot escape it).
///
/// # Errors
/// If the kernel refuses; that it does not exist is no error.
pub fn kill(path: &Path) -> Result<(), Error> {
    match fs::write(path.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(failed("kill", path)),
    }
}

/// Whether no process is in it or below.
#[must_use]
pub fn is_empty(path: &Path) -> bool {
    fs::read_to_string(path.join("cgroup.events")).map_or(true, |events| events.contains("populated 0"))
}

/// Ends everything in it and removes it with all below.
///
/// # Errors
/// If its processes do not go, or the kernel refuses; that it does not exist is no error.
pub fn remove(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    loop {
        kill(path)?;
        if is_empty(path) {
            match remove_directories(path) {
                // A process may still be on its way out of a child.
                Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) && Instant::now() < deadline => {
                }
                outcome => return outcome.map_err(failed("remove", path)),
            }
        } else if Instant::now() > deadline {
            return Err(failed("empty", path)(io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Removes a directory of a hierarchy of any version with all below; no process may be left in it.
///
/// # Errors
/// If the kernel refuses; that it does not exist is no error.
pub(crate) fn remove_directories(path: &Path) -> io::Result<()> {
    let children = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for child in children {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove_directories(&child.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
