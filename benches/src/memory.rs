//! What the agent takes on a node of ordinary size that has nothing to do.

use std::{fmt::Write as _, thread, time::Duration};

use anyhow::{Result, bail};
use mesh_tests::testbed::{Part, Testbed};

use crate::{
    goal::Goal,
    machine::Machine,
    maps,
    process::{self, Bytes},
};

const NODE: &str = "node-1";

/// Both processes together.
const AT_MOST_MEGABYTES: f64 = 12.0;

/// How many maps are named.
const LARGEST: usize = 6;

const PATIENCE: Duration = Duration::from_secs(120);

/// Options of `mesh-bench memory`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pods of the node, each with an identity of its own
    #[arg(long, default_value_t = 30)]
    pods: usize,
    /// Services that the node knows
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// How long nothing happens before it is looked, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle: u64,
}

/// Brings the node up, waits, and prints what the agent takes.
///
/// # Errors
/// If the node does not come up, or does not know what it should.
pub fn run(args: &Args) -> Result<()> {
    println!("{}", Machine::here());
    let name = format!("bench-{}-memory", std::process::id());
    let testbed = Testbed::builder().name(name).manifest(manifest(args)).start()?;
    for pod in testbed.wait_all_ready(PATIENCE)? {
        testbed.wait_wired(&pod.namespace, &pod.name, PATIENCE)?;
    }
    wait_known(&testbed, args.services)?;
    thread::sleep(Duration::from_secs(args.idle));

    let (wire, relay) = (testbed.agent(NODE, Part::Wire)?, testbed.agent(NODE, Part::Relay)?);
    let of_wire = process::proportional(wire)?;
    let of_relay = process::proportional(relay)?;
    let maps = maps::pinned(&testbed.node(NODE).pins)?;
    if maps.is_empty() {
        bail!("no map is pinned: the data path is not there");
    }
    let of_maps = Bytes(maps.iter().map(|(_, bytes)| bytes.0).sum());
    println!(
        "{} pods, each with an identity of its own, {} Services known, {} s idle",
        args.pods, args.services, args.idle
    );
    println!("PSS: wire {of_wire}, relay {of_relay}");
    println!("kernel maps: {:.2} MB in {} maps (memlock), the largest:", of_maps.megabytes(), maps.len());
    for (name, bytes) in maps.iter().take(LARGEST) {
        println!("  {name}: {:.2} MB", bytes.megabytes());
    }
    let both = Bytes(of_wire.all.0 + of_relay.all.0).megabytes();
    println!("both processes: {}", Goal { measured: both, at_most: AT_MOST_MEGABYTES, unit: " MB" });
    Ok(())
}

/// Waits until relay holds that many Services.
fn wait_known(testbed: &Testbed, services: usize) -> Result<()> {
    const RESOURCES: &str = "mesh_discovery_resources{kind=\"Service\"} ";
    testbed.wait_for("the node to know every Service", PATIENCE, || {
        let metrics = testbed.metrics(NODE).map_err(|error| error.to_string())?;
        let known = metrics.lines().find_map(|line| line.strip_prefix(RESOURCES)?.parse::<usize>().ok());
        // Others are the cluster's own.
        if known.is_some_and(|known| known >= services) { Ok(()) } else { Err(format!("{known:?} known")) }
    })?;
    Ok(())
}

fn manifest(args: &Args) -> String {
    let mut yaml =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: bench, labels: {mesh.internal/mode: enabled}}\n"
            .to_owned();
    // Writing to a String does not fail.
    for pod in 0..args.pods {
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: p{pod}, namespace: bench}}\n\
             ---\napiVersion: v1\nkind: Pod\n\
             metadata: {{name: p{pod}, namespace: bench, labels: {{app: p{pod}}}}}\n\
             spec:\n  nodeName: {NODE}\n  serviceAccountName: p{pod}\n  containers:\n  - name: main\n    \
             command: [sleep, infinity]\n    ports: [{{containerPort: 8080}}]\n"
        );
    }
    for service in 0..args.services {
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: bench}}\n\
             spec:\n  selector: {{app: p{}}}\n  ports: [{{port: 80, targetPort: 8080}}]\n",
            service % args.pods.max(1)
        );
    }
    yaml
}
