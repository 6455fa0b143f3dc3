//! The controller is needed for what is new, not for what goes on.

use std::time::Duration;

use crate::demo::{
    Error,
    bed::wait_for,
    evidence::Evidence,
    scrape::Scrape,
    stage::{AUDITOR, NODES, Stage, TELLER},
    traffic::Traffic,
};

/// How long the controller is away.
const AWAY: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let mut traffic = [
        (TELLER, Traffic::start(stage, TELLER, "archive.bank:9300", "-6")?),
        (AUDITOR, Traffic::start(stage, AUDITOR, "ledger.bank:9000", "-4")?),
    ];
    let old = stage.bed.controller()?;
    evidence.did(format_args!("under traffic between the nodes, kill -9 {old} (the controller)"));
    stage.bed.hold_controller()?;
    wait_for("the controller to be gone", PATIENCE, || {
        stage.bed.controller().map_or(Ok(()), |pid| Err(pid.to_string()))
    })?;
    wait_discovery(stage, false)?;
    std::thread::sleep(AWAY);
    for (from, traffic) in &mut traffic {
        let count = traffic.since_last()?;
        evidence.check(
            count.connections > 0 && count.failed == 0 && count.broken == 0,
            format_args!("without it, {from}: {count}"),
        );
    }
    evidence.did("the controller may start again");
    stage.bed.release_controller()?;
    wait_discovery(stage, true)?;
    evidence.check(
        true,
        format_args!(
            "pid {}; every node is joined to it again, with the certificate it had",
            stage.bed.controller()?
        ),
    );
    for (from, traffic) in &mut traffic {
        let count = traffic.since_last()?;
        evidence.check(
            count.connections > 0 && count.failed == 0 && count.broken == 0,
            format_args!("meanwhile, {from}: {count}"),
        );
    }
    Ok(())
}

/// Waits until every node has, or has not, a stream from the controller.
fn wait_discovery(stage: &Stage, connected: bool) -> Result<(), Error> {
    let is = |scrape: &Scrape| (scrape.sum("mesh_discovery_connected", &[]) > 0.5) == connected;
    for node in NODES {
        let word = if connected { "be connected to" } else { "have lost" };
        wait_for(&format!("{node} to {word} the controller"), PATIENCE, || {
            let scrape = stage.scrape_of(node).map_err(|error| error.to_string())?;
            if is(&scrape) { Ok(()) } else { Err(format!("connected: {}", !connected)) }
        })?;
    }
    Ok(())
}
