//! Probes come from the node, need no rule, and open nothing for anybody else.

use crate::demo::{
    Error,
    evidence::Evidence,
    stage::{CLERK, Stage, TELLER},
};

const PASSED: &str = "mesh_kernel_probes_passed_total";

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did(format_args!("{TELLER} has a readiness probe (HTTP, port 8080) and no ingress rule; access is Deny in its namespace"));
    let before = stage.scrape()?.sum(PASSED, &[]);
    let later = stage.scrape_until("probes to pass", |scrape| scrape.sum(PASSED, &[]) >= before + 5.0)?;
    evidence.check(true, format_args!("{PASSED} went from {before} to {} meanwhile", later.sum(PASSED, &[])));
    let pod = stage.pod(TELLER)?;
    evidence.check(pod.ready, format_args!("{TELLER} is Ready"));
    let address = pod.address("-4").map(|address| format!("{address}:8080")).unwrap_or_default();
    evidence.did(format_args!("the same port from an enrolled pod: {CLERK} calls {address}"));
    let mark = stage.log_mark()?;
    let failure = stage.call(CLERK, &address, "-4")?.failed()?;
    evidence.check(failure.errno == "ECONNREFUSED", &failure);
    let line = mark.wait("the default", |line| line.field("/reason") == "DefaultDenied")?;
    evidence.check(true, format_args!("log: {}", line.text));
    Ok(())
}
