//! `mesh-conformance`: the Gateway API's own conformance suite, run against the mesh on the cluster here. The suite is a
//! program of its own; what it needs around it is made here: the mesh, an `XMesh` to learn the supported features from,
//! and the image of the pods that it starts.

mod error;
mod image;
mod run;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use serde_json::json;

use crate::{
    cluster::{Kubectl, Running},
    tool,
};
use error::Error;
use run::{Outcome, Suite};

/// The `XMesh` that says which features there are, and its controller.
const MESH: &str = "conformance";
const CONTROLLER: &str = "mesh.internal/controller";

/// Where the mesh is installed.
const SYSTEM: &str = "mesh-system";

/// The longest wait for anything of the cluster, as kubectl is told.
const TIMEOUT: &str = "--timeout=180s";

/// What is run against what.
#[derive(Debug, Parser)]
#[command(name = "mesh-conformance")]
struct Args {
    /// The target directory of the workspace whose cluster is up
    #[arg(long)]
    target: PathBuf,
    /// The suite's program
    #[arg(long)]
    suite: PathBuf,
    /// The manifest of the pods that the suite starts
    #[arg(long)]
    manifest: PathBuf,
    /// Where the report is kept when every run passed
    #[arg(long)]
    report: Option<PathBuf>,
    /// How often the suite is run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only the test of this name; there is no report then
    #[arg(long, value_name = "NAME", conflicts_with = "report")]
    test: Option<String>,
}

/// Runs the program with the process's arguments; fails unless every run passed.
#[must_use]
pub fn main() -> ExitCode {
    match conform(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn conform(args: &Args) -> Result<(), Error> {
    let cluster = Running::attach(&args.target)?;
    let kubectl = cluster.kubectl();
    install(kubectl)?;
    image::load(&cluster, &args.manifest)?;
    let features = announce(kubectl)?;
    println!("supported: {features}");

    let folder = args.target.join("conformance");
    fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    let report = folder.join("report.yaml");
    let suite = Suite {
        program: &args.suite,
        kubeconfig: cluster.kubeconfig(),
        mesh: MESH,
        features: &features,
        report: &report,
        test: args.test.as_deref(),
    };
    let mut failed = Vec::new();
    for number in 1..=args.runs {
        let log = folder.join(format!("run-{number}.log"));
        let outcome = suite.run(&log)?;
        println!("run {number} of {}: {outcome}, in {}", args.runs, log.display());
        failed.extend(outcome.failure(number));
        gone(kubectl, &outcome)?;
    }
    if !failed.is_empty() {
        return Err(Error::Failed(failed.join("; ")));
    }
    if let Some(kept) = &args.report {
        fs::copy(&report, kept).map_err(Error::io("write", kept))?;
        println!("the report is {}", kept.display());
    }
    Ok(())
}

/// Installs the mesh where it is not, and waits for it.
fn install(kubectl: &Kubectl) -> Result<(), Error> {
    if kubectl.run(&["get", "--namespace", SYSTEM, "daemonset/mesh-agent"]).is_err() {
        let mut meshctl = std::process::Command::new(beside("meshctl")?);
        meshctl.arg("install");
        let objects = tool::run(meshctl, "")?;
        kubectl.run_with(&["apply", "--server-side", "--filename=-"], &objects)?;
    }
    for what in ["deployment/mesh-control", "daemonset/mesh-agent"] {
        kubectl.run(&["rollout", "status", "--namespace", SYSTEM, what, TIMEOUT])?;
    }
    Ok(())
}

/// Has the controller say which features it supports, and gives them, with commas.
fn announce(kubectl: &Kubectl) -> Result<String, Error> {
    let mesh = json!({
        "apiVersion": "gateway.networking.x-k8s.io/v1alpha1",
        "kind": "XMesh",
        "metadata": {"name": MESH},
        "spec": {"controllerName": CONTROLLER},
    });
    kubectl.apply(&mesh.to_string())?;
    let name = format!("xmesh/{MESH}");
    kubectl.run(&["wait", &name, "--for=condition=Accepted", TIMEOUT])?;
    let features = "--output=jsonpath={.status.supportedFeatures[*].name}";
    Ok(kubectl.run(&["get", &name, features])?.trim().replace(' ', ","))
}

/// Waits until nothing is left of a run, so that the next one begins as the first did.
fn gone(kubectl: &Kubectl, outcome: &Outcome) -> Result<(), Error> {
    let selector = "--selector=gateway-conformance";
    if !outcome.has_passed() {
        // A suite that was ended leaves what it made.
        kubectl.run(&["delete", "namespaces", selector, "--ignore-not-found", TIMEOUT])?;
    }
    kubectl.run(&["wait", "--for=delete", "namespaces", selector, TIMEOUT])?;
    Ok(())
}

/// Another program of the workspace, built with this one.
fn beside(name: &str) -> Result<PathBuf, Error> {
    let ours = std::env::current_exe().map_err(Error::io("find", Path::new("our own program")))?;
    Ok(ours.with_file_name(name))
}
