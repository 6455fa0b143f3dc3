//! A slow reader beside a fast client, through the tunnel between the same two pods: whether what fills up for the one
//! stands in the way of the other.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use mesh_tests::node::Cni;

use crate::{
    arms::Arm,
    goal::Goal,
    machine::Machine,
    setting::Setting,
    statistics,
    traffic::{Drained, Quantity},
};

/// The fast client's p99 beside slow readers, against that without.
const AT_MOST: f64 = 2.0;

/// Options of `mesh-bench fairness`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The two pods
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// How many pairs of measurements
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// How long one measurement takes, in milliseconds
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    time: u64,
    /// How many connections are read slowly
    #[arg(long, default_value_t = 4)]
    readers: usize,
}

/// Measures with and without slow readers in turn, and prints the ratio.
///
/// # Errors
/// If the pods do not come up, a measurement fails, or the bytes did not go through the tunnel.
pub fn run(args: &Args) -> Result<()> {
    println!("{}", Machine::here());
    let arm = Arm::start(&[&args.config], Cni::Ptp, true)?;
    let time = Duration::from_millis(args.time);
    let (mut pairs, mut drained) = (Vec::with_capacity(args.runs), Drained { bytes: 0, seconds: 0.0 });
    for round in 0..args.runs {
        eprint!("\rround {} of {}", round + 1, args.runs);
        // Which is first changes: what one leaves behind for the other falls on both alike.
        let mut alone = None;
        if round % 2 == 0 {
            alone = Some(arm.measure(Quantity::Tail, time)?);
        }
        let readers = Readers::start(&arm, args.readers)?;
        let beside = arm.measure(Quantity::Tail, time)?;
        let took = readers.end(&arm)?;
        drained.bytes += took.bytes;
        drained.seconds += took.seconds;
        let alone = alone.map_or_else(|| arm.measure(Quantity::Tail, time), Ok)?;
        pairs.push((beside, alone));
    }
    eprintln!();
    if arm.connections_seen(Setting::TwoNodes)? == 0 {
        bail!("no connection went through the tunnel: nothing was measured of it");
    }
    let ratio = statistics::paired_ratio(&pairs, 1).context("a measurement is not positive")?;
    let middle = |of: fn(&(f64, f64)) -> f64| statistics::median(&pairs.iter().map(of).collect::<Vec<_>>());
    let (beside, alone) = (middle(|pair| pair.0), middle(|pair| pair.1));
    println!(
        "{} slow readers in the same pods took {:.0} kB/s together; what they left stood still on the way",
        args.readers,
        kilobytes_per_second(drained)
    );
    println!(
        "request/response p99 of the fast client, medians of {} pairs: {:.0} us beside them, {:.0} us alone",
        ratio.pairs,
        beside.unwrap_or(f64::NAN),
        alone.unwrap_or(f64::NAN)
    );
    println!(
        "ratio: paired median {:.3} [95 % bootstrap interval {:.3}, {:.3}] ({:.3} to {:.3})",
        ratio.median, ratio.low, ratio.high, ratio.least, ratio.greatest
    );
    println!("fairness: {}", Goal { measured: ratio.median, at_most: AT_MOST, unit: "" });
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn kilobytes_per_second(drained: Drained) -> f64 {
    drained.bytes as f64 / 1e3 / drained.seconds
}

/// Slow readers in the client's pod; killed when dropped.
struct Readers {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Readers {
    /// Starts them, and waits until everything between them and the server is full.
    fn start(arm: &Arm, count: usize) -> Result<Self> {
        let count = count.to_string();
        let mut command = arm.client(&["slow", "--readers", &count])?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot run the slow readers")?;
        let output = child.stdout.take().context("the slow readers have no output")?;
        let mut readers = Self { child, output: BufReader::new(output) };
        let mut line = String::new();
        readers.output.read_line(&mut line).context("cannot read from the slow readers")?;
        if line.trim() != "reading" {
            return Err(arm.said("slow", &line).into());
        }
        Ok(readers)
    }

    /// Ends them; says what they took.
    fn end(mut self, arm: &Arm) -> Result<Drained> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).context("cannot read from the slow readers")?;
        serde_json::from_str(&text).map_err(|_| arm.said("slow", &text).into())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        // They may have ended by themselves.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
