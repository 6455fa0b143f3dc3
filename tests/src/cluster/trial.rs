//! What tests on a Kubernetes say, whichever program they are in: waiting, programs of the workspace, ports, calls from
//! outside. What fails panics with what it saw, as an assertion does.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that has no bound of its own. Only what fails takes so long: a machine that does many other
/// things as well is no failure.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The same, as kubectl is told.
pub const TIMEOUT: &str = "--timeout=180s";

/// Ports of tests: below those that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// The workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The workspace's target directory, where the cluster's programs are.
#[must_use]
pub fn target() -> PathBuf {
    workspace().join("target")
}

/// A program of the workspace, built with the tests.
///
/// # Panics
/// If it is not built.
#[must_use]
pub fn program(name: &str) -> Command {
    let ours = std::env::current_exe().expect("this program has a path");
    // Tests lie one folder below the programs.
    let found = ours.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{name} is not built: cargo build --workspace --bins")))
}

/// Runs it and gives what it prints.
///
/// # Panics
/// If it fails, with what it said.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}\n{printed}");
    printed
}

/// Tries until it succeeds.
///
/// # Panics
/// If it has not after [`PATIENCE`], with the last error.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(found) => return found,
            Err(said) if start.elapsed() > PATIENCE => panic!("{what}: {said}"),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A port that nobody has, and that no connection gets as its own meanwhile: it is free until it is listened on, and a
/// call to it before that cannot meet itself.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Programs that run at once begin at different places.
    let first = std::process::id().wrapping_mul(97);
    let mut ports = (0..count).map(|_| {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        PORTS.start + u16::try_from(offset).unwrap_or_default()
    });
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("a free port")
}
