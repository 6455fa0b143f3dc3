//! The data path does not need its agent, and the agent finds its data path again.

use std::time::{Duration, Instant};

use crate::{
    demo::{
        Error,
        bed::wait_for,
        call::Call,
        evidence::Evidence,
        kernel_objects::{self, Held},
        stage::{BeforeKill, CLERK, FAMILIES, NODE, Stage, TELLER},
    },
    testbed::Part,
};

const DENIED: &str = "mesh_denied_total";
const BY_EGRESS: [&str; 2] = ["policy=\"AccessPolicy/bank/teller\"", "rule=\"no-shop\""];

pub(super) fn killed(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let (wire, relay) = (stage.bed.agent(NODE, Part::Wire)?, stage.bed.agent(NODE, Part::Relay)?);
    // Counts of earlier calls may be on their way.
    std::thread::sleep(Duration::from_millis(3000));
    let before = BeforeKill { held: Held::by(wire)?, denied: stage.scrape()?.sum(DENIED, &BY_EGRESS) };
    stage.before_kill.replace(Some(before));
    evidence.did(format_args!("kill -9 {wire} (wire) and {relay} (relay), and both kept from coming back"));
    stage.bed.hold_agent(NODE, Part::Wire)?;
    stage.bed.hold_agent(NODE, Part::Relay)?;
    wait_for("both to be gone", Duration::from_secs(60), || {
        let running =
            [Part::Wire, Part::Relay].into_iter().filter(|part| stage.bed.agent(NODE, *part).is_ok()).count();
        if running == 0 { Ok(()) } else { Err(format!("{running} run")) }
    })?;
    for (option, family) in FAMILIES {
        evidence.did(format_args!(
            "{family}: {TELLER} makes 1,000 connections to ledger.bank:9000, each with a round trip"
        ));
        let output =
            stage.run(TELLER, &["mesh-echo", "storm", option, "--connections=1000", "ledger.bank:9000"])?;
        let text = String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; ");
        evidence.check(output.status.success() && text.starts_with("ok=1000 failed=0 "), text);
    }
    for (from, to, errno) in
        [(TELLER, "catalog.shop:9200", "EPERM"), (CLERK, "vault.bank:9100", "ECONNREFUSED")]
    {
        let failure = stage.call(from, to, "-4")?.failed()?;
        evidence.check(failure.errno == errno, format_args!("{from} to {to}: {failure}"));
    }
    let pod = stage.pod(TELLER)?;
    evidence.check(pod.ready, format_args!("{TELLER} is still Ready: its probes pass"));
    Ok(())
}

pub(super) fn adopted(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did("wire and relay may start again");
    let start = Instant::now();
    for part in [Part::Wire, Part::Relay] {
        stage.bed.release_agent(NODE, part)?;
    }
    let mut held = stage.hold(TELLER, "ledger.bank:9000", "-4")?;
    stage.wait_back()?;
    let (wire, relay) = (stage.bed.agent(NODE, Part::Wire)?, stage.bed.agent(NODE, Part::Relay)?);
    evidence.check(
        true,
        format_args!(
            "both are back (pids {wire}, {relay}), every pod as before, after {:.1} s",
            start.elapsed().as_secs_f64()
        ),
    );
    let Some(BeforeKill { held: before, denied }) = stage.before_kill.take() else {
        evidence.check(false, "what wire held before it was killed is not known");
        return Ok(());
    };
    let after = Held::by(wire)?;
    evidence.saw(format_args!("map ids before    {}", kernel_objects::shown(&before.maps)));
    evidence.saw(format_args!("map ids after     {}", kernel_objects::shown(&after.maps)));
    evidence.check(!before.maps.is_empty() && before.maps == after.maps, "the new wire holds the same maps");
    evidence.saw(format_args!("link ids before   {}", kernel_objects::shown(before.links.keys())));
    evidence.saw(format_args!("link ids after    {}", kernel_objects::shown(after.links.keys())));
    let same = !before.links.is_empty() && before.links.keys().eq(after.links.keys());
    evidence.check(same, "and the same links: nothing was detached in between");
    let replaced = before
        .links
        .iter()
        .filter(|(link, program)| after.links.get(link).is_some_and(|new| new != *program));
    evidence
        .saw(format_args!("{} of them run a freshly loaded program, replaced in place", replaced.count()));
    let scrape = stage
        .scrape_until("the counts to be back", |scrape| scrape.sum(DENIED, &BY_EGRESS) >= denied + 1.0)?;
    evidence.check(
        true,
        format_args!(
            "{DENIED} by {}: {denied} before, {} after: also what was refused meanwhile is counted",
            BY_EGRESS[0],
            scrape.sum(DENIED, &BY_EGRESS)
        ),
    );
    evidence.check(held.is_open(), "a connection that was opened before they were back is still open");
    let refused = matches!(stage.call(CLERK, "vault.bank:9100", "-6")?, Call::Failed(_));
    evidence.check(refused, "policy still denies");
    Ok(())
}
