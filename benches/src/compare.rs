//! The mesh against no mesh: two testbeds of the same manifests, measured in turn.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use mesh_tests::node::Cni;

use crate::{
    arms::Arm,
    machine::Machine,
    report::{Report, Round, Row},
    schedule::{self, Turn},
    setting::Setting,
    traffic::Quantity,
    verdict::FEWEST_PAIRS,
};

/// Options of a comparison.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The two pods
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// How many pairs of measurements; fewer than 15 show nothing
    #[arg(long, default_value_t = 45)]
    runs: usize,
    /// How long one measurement takes, in milliseconds
    #[arg(long, default_value_t = 300, value_name = "MS")]
    time: u64,
    /// How pods are joined to their node
    #[arg(long, value_enum, default_value_t = Cni::Ptp)]
    cni: Cni,
    /// Write the result, every measurement included, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Decides the order of the measurements and the bootstrap's samples
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Measures, and prints the report.
///
/// # Errors
/// If an arm does not come up, a measurement fails, or what was measured did not go where it should.
pub fn run(args: &Args, setting: Setting) -> Result<()> {
    if args.runs == 0 {
        bail!("--runs 0 measures nothing; {FEWEST_PAIRS} pairs are the fewest that can show something");
    }
    let machine = Machine::here();
    let mesh = Arm::start(&[&args.config], args.cni, true)?;
    let plain = Arm::start(&[&args.config], args.cni, false)?;
    let time = Duration::from_millis(args.time);
    let mut rounds: Vec<Vec<Round>> = Quantity::COMPARED.map(|_| Vec::with_capacity(args.runs)).into();
    for round in 0..args.runs {
        eprint!("\rround {} of {}", round + 1, args.runs);
        for (quantity, rounds) in Quantity::COMPARED.into_iter().zip(&mut rounds) {
            rounds.push(measure(&mesh, &plain, quantity, time, schedule::order(round, args.seed))?);
        }
    }
    eprintln!();
    let seen = mesh.connections_seen(setting)?;
    if seen == 0 {
        bail!("the mesh counted no connection: what was measured did not go through it");
    }
    let rows = Quantity::COMPARED.into_iter().zip(rounds);
    let rows = rows.map(|(quantity, rounds)| {
        Row::new(setting, quantity, rounds, args.seed)
            .with_context(|| format!("a measurement of {quantity} is not positive"))
    });
    let joined = if args.cni == Cni::Bridge { "bridged" } else { "routed" };
    let layout = format!("{}, {joined}", setting.title());
    let report = Report { machine, layout, connections_seen: seen, rows: rows.collect::<Result<_>>()? };
    println!("{report}");
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(mesh: &Arm, plain: &Arm, quantity: Quantity, time: Duration, order: [Turn; 3]) -> Result<Round> {
    let mut round = Round { mesh: 0.0, plain: 0.0, plain_again: 0.0 };
    for turn in order {
        let (arm, value) = match turn {
            Turn::Mesh => (mesh, &mut round.mesh),
            Turn::Plain => (plain, &mut round.plain),
            Turn::PlainAgain => (plain, &mut round.plain_again),
        };
        *value = arm.measure(quantity, time)?;
    }
    Ok(round)
}
