//! What hangs on relay, and what does not.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::{
    demo::{
        Error,
        bed::wait_for,
        evidence::Evidence,
        stage::{NODE, Stage, TELLER},
        traffic::Traffic,
    },
    testbed::Part,
};

const PATIENCE: Duration = Duration::from_secs(90);

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let mut same_node = Traffic::start(stage, TELLER, "ledger.bank:9000", "-4")?;
    let mut across = Traffic::start(stage, TELLER, "archive.bank:9300", "-4")?;
    let old = stage.bed.agent(NODE, Part::Relay)?;
    evidence.did(format_args!(
        "{TELLER} calls ledger.bank:9000 on its own node and archive.bank:9300 on the other; kill -9 {old} (relay of {NODE})"
    ));
    let start = Instant::now();
    stage.signal_agent(NODE, Part::Relay, Signal::SIGKILL)?;
    // Until traffic flows again: the first exchanges of connections that were made after the kill.
    let mut lost = across.since_last()?;
    wait_for("the next relay to carry connections", PATIENCE, || {
        let count = across.since_last().map_err(|error| error.to_string())?;
        let carries = stage.bed.agent(NODE, Part::Relay).is_ok_and(|pid| pid != old) && count.connections > 0;
        lost = std::mem::take(&mut lost).and(&count);
        if carries { Ok(()) } else { Err(format!("{count}")) }
    })?;
    let after = start.elapsed();
    let seconds = after.as_secs_f64();
    evidence
        .saw(format_args!("between the nodes, in the {seconds:.1} s until they went through again: {lost}"));
    stage.wait_back()?;
    let count = same_node.since_last()?;
    evidence.check(
        count.broken == 0 && count.failed == 0 && count.connections > 0,
        format_args!("within the node, all the while: {count}"),
    );
    across.since_last()?;
    std::thread::sleep(Duration::from_millis(500));
    let mut count = across.since_last()?;
    wait_for("connections to be made", PATIENCE, || {
        let more = across.since_last().map_err(|error| error.to_string())?;
        count = std::mem::take(&mut count).and(&more);
        if count.connections > 0 { Ok(()) } else { Err(format!("{count}")) }
    })?;
    evidence.check(
        count.connections > 0 && count.failed == 0,
        format_args!("between the nodes, afterwards: {count}"),
    );
    Ok(())
}
