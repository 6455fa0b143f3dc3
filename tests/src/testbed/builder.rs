//! Starting a testbed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Error, Owned, Testbed, edit};
use crate::{layout::Layout, node::Cni, supervisor::lock};

/// How long nodes and mesh may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Counts the testbeds of this process that have no name of their own.
static UNNAMED: AtomicU32 = AtomicU32::new(0);

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    name: Option<String>,
    directories: Vec<PathBuf>,
    manifests: Vec<String>,
    cni: Cni,
    without_mesh: bool,
    without_restart: bool,
}

impl Builder {
    /// A name, to tell it from others; it gets one of its own otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A directory of manifests. It is copied: what tests change, they change in the copy.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directories.push(directory.into());
        self
    }

    /// Manifests, as YAML with any number of documents.
    #[must_use]
    pub fn manifest(mut self, yaml: impl Into<String>) -> Self {
        self.manifests.push(yaml.into());
        self
    }

    /// How pods are joined to their node; [`Cni::Ptp`] if not said.
    #[must_use]
    pub fn cni(mut self, cni: Cni) -> Self {
        self.cni = cni;
        self
    }

    /// Whether the mesh runs; it does if not said.
    #[must_use]
    pub fn mesh(mut self, mesh: bool) -> Self {
        self.without_mesh = !mesh;
        self
    }

    /// Whether processes of the mesh that end are started again; they are if not said.
    #[must_use]
    pub fn restart(mut self, restart: bool) -> Self {
        self.without_restart = !restart;
        self
    }

    /// Starts it, and returns once nodes and mesh are up; pods may still be on their way.
    ///
    /// # Errors
    /// If it does not come up; what the supervisor said is part of the error.
    pub fn start(self) -> Result<Testbed, Error> {
        let unnamed = || format!("t{}-{}", std::process::id(), UNNAMED.fetch_add(1, Ordering::Relaxed));
        let layout = Layout::new(&self.name.clone().unwrap_or_else(unnamed))?;
        let directory = tempfile::Builder::new().prefix("mesh-testbed-").tempdir()?;
        for source in &self.directories {
            copy(source, directory.path())?;
        }
        for manifest in &self.manifests {
            edit::write_objects(directory.path(), manifest)?;
        }
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(program()?);
        command
            .args(["serve", "--until-stdin-ends", "--name", layout.name(), "--config"])
            .arg(directory.path());
        command.args(["--cni", if self.cni == Cni::Bridge { "bridge" } else { "ptp" }]);
        command.args(self.without_mesh.then_some("--no-mesh"));
        command.args(self.without_restart.then_some("--no-restart"));
        command.stdin(Stdio::piped()).stdout(log.reopen()?).stderr(log.reopen()?);
        let supervisor = command.spawn()?;
        let path = directory.path().to_owned();
        let mut testbed =
            Testbed { layout, directory: path, owned: Some(Owned { supervisor, _directory: directory }) };
        testbed.wait_up(log.path())?;
        Ok(testbed)
    }
}

impl Testbed {
    fn wait_up(&mut self, log: &Path) -> Result<(), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        let Some(owned) = &mut self.owned else { return Ok(()) };
        let pid = owned.supervisor.id().to_string();
        loop {
            if self.layout.ready().exists() && lock::owner(&self.layout).as_ref() == Some(&pid) {
                return Ok(());
            }
            if owned.supervisor.try_wait()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(log).unwrap_or_default();
                return Err(Error::Start { name: self.layout.name().to_owned(), log });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The testbed's own program, which lies beside the test's or the command's.
pub(crate) fn program() -> Result<PathBuf, Error> {
    let ours = std::env::current_exe()?;
    let candidates = ours.ancestors().skip(1).take(2).map(|folder| folder.join("mesh-testbed"));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::Io(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!(
                "mesh-testbed lies neither beside {} nor above; build it: cargo build -p mesh-tests",
                ours.display()
            ),
        ))
    })
}

/// Copies manifests, one object a file, so that each can be replaced; what is no YAML is copied as it is.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            copy(&path, to)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
        {
            let text = fs::read_to_string(&path)?;
            if edit::write_objects(to, &text).is_err() {
                fs::write(to.join(path.file_name().unwrap_or_default()), text)?;
            }
        }
    }
    Ok(())
}
