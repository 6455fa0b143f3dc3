//! kubectl, as people would use it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::Place;
use crate::tool;

/// kubectl with the kubeconfig of a cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: Option<PathBuf>,
}

impl Kubectl {
    /// For the cluster of this kubeconfig.
    #[must_use]
    pub fn new(place: &Place, kubeconfig: &Path) -> Self {
        Self { program: place.programs().join("kubectl"), kubeconfig: kubeconfig.to_owned(), cache: None }
    }

    /// The same, keeping what it learns of the API server in a folder that goes with it: the next one at this address has
    /// other kinds.
    #[must_use]
    pub fn remembering(self, folder: &Path) -> Self {
        Self { cache: Some(folder.to_owned()), ..self }
    }

    /// It, to be run as the caller likes.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command.envs(self.cache.iter().map(|cache| ("KUBECACHEDIR", cache)));
        command
    }

    /// Runs it with these arguments and gives what it prints.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String, tool::Error> {
        self.run_with(arguments, "")
    }

    /// The same, with something on its standard input.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Result<String, tool::Error> {
        let mut command = self.command();
        command.args(arguments);
        tool::run(command, input)
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// If the API server refuses one, with what it said.
    pub fn apply(&self, manifests: &str) -> Result<String, tool::Error> {
        self.run_with(&["apply", "--filename=-"], manifests)
    }
}
