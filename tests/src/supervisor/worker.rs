//! The supervisor's side of a node's process.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    thread,
};

use crate::{
    cgroup,
    launch::Launch,
    layout::{Layout, NodeLayout},
    node::{Config, Desired, Report},
};

/// A node's process could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its control group.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The process or the pipe to it.
    #[error("node {node}: its process failed: {source}; its log:\n{log}")]
    Io {
        /// Which node.
        node: String,
        /// Why.
        source: io::Error,
        /// What it said: its file goes with the testbed.
        log: String,
    },
}

/// A node's process.
#[derive(Debug)]
pub(super) struct Worker {
    node: String,
    log: PathBuf,
    wishes: ChildStdin,
    process: Child,
}

impl Worker {
    /// Starts it; every report goes to `report`, and `None` once it has ended.
    pub(super) fn start(
        layout: &Layout,
        node: &NodeLayout,
        config: &Config,
        report: impl Fn(Option<Report>) + Send + 'static,
    ) -> Result<Self, Error> {
        cgroup::create(&node.kubelet_cgroup())?;
        let log = layout.log(&format!("node.{}", node.name));
        let failed = |source| Error::Io { node: node.name.clone(), source, log: said(&log) };
        let mut process = spawn(node, config, &log).map_err(failed)?;
        let missing = || failed(io::Error::other("it has no pipes"));
        let (wishes, reports) =
            (process.stdin.take().ok_or_else(missing)?, process.stdout.take().ok_or_else(missing)?);
        thread::spawn(move || {
            for line in BufReader::new(reports).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(message) => report(Some(message)),
                    Err(error) => tracing::error!(line, %error, "a node's report cannot be read"),
                }
            }
            report(None);
        });
        Ok(Self { node: node.name.clone(), log: log.clone(), wishes, process })
    }

    /// Waits for the end of one that was told to end, or killed.
    pub(super) fn reap(mut self) -> io::Result<()> {
        drop(self.wishes);
        self.process.wait().map(drop)
    }

    /// Tells it what is wanted.
    pub(super) fn wish(&mut self, desired: &Desired) -> Result<(), Error> {
        let mut line = serde_json::to_string(desired).expect("what is wanted is plain data");
        line.push('\n');
        self.wishes.write_all(line.as_bytes()).map_err(|source| Error::Io {
            node: self.node.clone(),
            source,
            log: said(&self.log),
        })
    }
}

fn said(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

fn spawn(node: &NodeLayout, config: &Config, log: &Path) -> io::Result<Child> {
    let program = config.testbed_program.display().to_string();
    let configuration = serde_json::to_string(config)?;
    let launch = Launch {
        cgroup: Some(node.kubelet_cgroup()),
        network: Some(node.netns()),
        new_session: true,
        argv: vec![program, "node".to_owned(), configuration],
        ..Launch::default()
    };
    let mut command = launch.command(&config.testbed_program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(log)?);
    command.spawn()
}
