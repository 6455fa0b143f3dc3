//! `bench`: builds everything for release and measures: the mesh against no mesh, or what there is nothing to compare
//! with.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, testbed, tools::packages, workspace};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// What to measure; two pods of one node against no mesh if nothing is named
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    compare: Compare,
}

/// What is measured, other than two pods of one node.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Two pods of two nodes, through the tunnel, against no mesh
    Tunnel(Compare),
    /// A fast client beside slow readers, through the tunnel between the same two pods
    Fairness {
        /// How many pairs of measurements
        #[arg(long, value_name = "N")]
        runs: Option<usize>,
    },
    /// Every kind of bad peer at once against a tunnel listener: relay's memory, a well-behaved peer's p99
    Abuse {
        /// How long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// The agent's memory with 30 pods and 1,000 Services, after a minute without traffic
    Memory,
}

/// Options of a comparison.
#[derive(Debug, clap::Args)]
struct Compare {
    /// How many pairs of measurements; fewer than 15 show nothing
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Write the result, every measurement included, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How pods are joined to their node: ptp or bridge
    #[arg(long, value_name = "CNI")]
    cni: Option<String>,
}

impl Compare {
    fn arguments(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |option: &str, value: Option<String>| {
            all.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
        };
        add("--runs", self.runs.map(|runs| runs.to_string()));
        add("--json", self.json.as_ref().map(|path| path.display().to_string()));
        add("--cni", self.cni.clone());
        all
    }
}

/// Builds what the benchmark needs, in the release profile, and runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    packages::install(packages::TESTBED)?;
    testbed::build(true)?;
    let (command, manifests, options): (_, &[&str], _) = match &args.what {
        None => ("run", &["same-node"], args.compare.arguments()),
        Some(What::Tunnel(compare)) => ("tunnel", &["two-nodes"], compare.arguments()),
        Some(What::Fairness { runs }) => {
            let runs = runs.map(|runs| ["--runs".to_owned(), runs.to_string()]);
            ("fairness", &["two-nodes"], runs.into_iter().flatten().collect())
        }
        Some(What::Abuse { minutes }) => {
            ("abuse", &["two-nodes", "abuse"], vec!["--minutes".to_owned(), minutes.to_string()])
        }
        Some(What::Memory) => ("memory", &[], Vec::new()),
    };
    let mut bench = testbed::program("mesh-bench", true);
    bench.arg(command);
    for folder in manifests {
        bench.arg("--config").arg(workspace::root().join("benches/manifests").join(folder));
    }
    process::run(bench.args(options))
}
