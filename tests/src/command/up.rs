//! `mesh-testbed up`: starts the supervisor in the background and says when the cluster is there.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    layout::Layout,
    node::Cni,
    supervisor::{Options, lock},
    testbed::{Pod, Testbed},
};

/// Options of `mesh-testbed up`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: Options,
    /// Longest wait for the pods, in seconds; they go on starting after it
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let options = &args.options;
    let layout = Layout::new(&options.name)?;
    lock::make_root()?;
    let log = layout.supervisor_log();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--name", &options.name, "--config"]).arg(&options.config);
    command.args(["--cni", if options.cni == Cni::Bridge { "bridge" } else { "ptp" }]);
    command.args(options.no_mesh.then_some("--no-mesh")).args(options.no_restart.then_some("--no-restart"));
    // It must outlive this terminal.
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    let mut supervisor = command.spawn()?;
    let pid = supervisor.id().to_string();
    while !(layout.ready().exists() && lock::owner(&layout).as_ref() == Some(&pid)) {
        if supervisor.try_wait()?.is_some() {
            return Err(fs::read_to_string(&log)?.trim_end().to_owned().into());
        }
        thread::sleep(Duration::from_millis(10));
    }

    let start = Instant::now();
    let testbed = Testbed::attach(&options.name)?;
    let settled = loop {
        let settled = testbed.wait_all_ready(Duration::from_secs(1));
        if supervisor.try_wait()?.is_some() {
            return Err(fs::read_to_string(&log)?.trim_end().to_owned().into());
        }
        if settled.is_ok() || start.elapsed() > Duration::from_secs(args.timeout) {
            break settled;
        }
    };
    print_pods(&testbed.pods()?);
    println!("testbed {} is up, after {:.1} s for the pods", options.name, start.elapsed().as_secs_f64());
    println!("  run directory  {}", layout.run().display());
    println!("  supervisor log {}", log.display());
    println!("  capture        nsenter --net=/run/netns/{} tcpdump -i br0", layout.fabric_netns());
    settled?;
    Ok(())
}

/// A table of pods.
pub(super) fn print_pods(pods: &[Pod]) {
    let mut rows =
        vec![["NAMESPACE", "NAME", "READY", "PHASE", "NODE", "IPV4", "IPV6", ""].map(str::to_owned)];
    for pod in pods {
        let phase = if pod.terminating { "Terminating" } else { &pod.phase };
        rows.push([
            pod.namespace.clone(),
            pod.name.clone(),
            pod.ready.to_string(),
            phase.to_owned(),
            pod.node.clone(),
            pod.ip4.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            pod.ip6.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            pod.message.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    let widths: [usize; 8] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
