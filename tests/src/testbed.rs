//! A testbed as tests and commands hold it: started from YAML, reached into, changed while it runs, and taken down when
//! dropped.
//!
//! ```no_run
//! use std::time::Duration;
//! use mesh_tests::testbed::Testbed;
//!
//! let testbed = Testbed::builder()
//!     .manifest(
//!         "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: n}\n\
//!          spec: {containers: [{name: main, command: [sleep, infinity]}]}",
//!     )
//!     .mesh(false)
//!     .start()?;
//! testbed.wait_ready("n", "a", Duration::from_secs(10))?;
//! let output = testbed.exec("n", "a", &["hostname"])?;
//! assert_eq!(output.stdout, b"a\n");
//! # Ok::<(), mesh_tests::testbed::Error>(())
//! ```

mod agents;
mod builder;
mod edit;
mod error;
mod exec;
pub(crate) mod http;
mod observe;

use std::{path::PathBuf, process::Child};

pub use agents::Part;
pub use builder::Builder;
pub(crate) use builder::program;
pub use error::Error;
pub(crate) use observe::DEFAULT_CONTAINER_ANNOTATION;
pub use observe::Pod;
pub(crate) use observe::wait_for;

use crate::{
    layout::{Layout, NodeLayout},
    supervisor::{leftovers, lock},
};

/// How long the supervisor may take to remove everything.
const DOWN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// A running testbed.
#[derive(Debug)]
pub struct Testbed {
    layout: Layout,
    /// The watched directory.
    directory: PathBuf,
    /// The supervisor, if this handle started it and ends it.
    owned: Option<Owned>,
}

#[derive(Debug)]
struct Owned {
    supervisor: Child,
    _directory: tempfile::TempDir,
}

impl Testbed {
    /// A testbed to be started.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The testbed of that name that runs already; dropping the handle leaves it running.
    ///
    /// # Errors
    /// If none of that name runs.
    pub fn attach(name: &str) -> Result<Self, Error> {
        let layout = Layout::new(name)?;
        if lock::owner(&layout).is_none() {
            return Err(Error::NotUp(name.to_owned()));
        }
        let directory = std::fs::read_to_string(layout.run().join("source"))?.trim().into();
        Ok(Self { layout, directory, owned: None })
    }

    /// Its paths.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The paths of one node.
    #[must_use]
    pub fn node(&self, node: &str) -> NodeLayout {
        self.layout.node(node)
    }

    /// The directory that it watches.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Kills the supervisor as `kill -9` does, and leaves everything else as it is.
    ///
    /// # Errors
    /// If this handle did not start it.
    pub fn kill_supervisor(mut self) -> Result<Layout, Error> {
        let mut owned = self.owned.take().ok_or_else(|| Error::NotOurs(self.layout.name().to_owned()))?;
        owned.supervisor.kill()?;
        owned.supervisor.wait()?;
        Ok(self.layout.clone())
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let Some(mut owned) = self.owned.take() else { return };
        // The end of its standard input is its sign to take everything down.
        drop(owned.supervisor.stdin.take());
        let deadline = std::time::Instant::now() + DOWN_TIMEOUT;
        while std::time::Instant::now() < deadline {
            match owned.supervisor.try_wait() {
                Ok(None) => std::thread::sleep(std::time::Duration::from_millis(5)),
                _ => return,
            }
        }
        eprintln!("testbed {}: the supervisor does not end; killing it", self.layout.name());
        let killed = owned.supervisor.kill().and_then(|()| owned.supervisor.wait());
        if let (Err(error), _) | (_, Err(error)) =
            (killed.map_err(Error::Io), leftovers::remove(&self.layout).map_err(Error::Leftovers))
        {
            eprintln!("testbed {}: {error}", self.layout.name());
        }
    }
}
