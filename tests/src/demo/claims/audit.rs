//! A policy on trial.

use crate::demo::{
    Error,
    evidence::Evidence,
    stage::{MAINFRAME, Stage},
};

const METRIC: &str = "mesh_audited_total";
const POLICY: &str = "AccessPolicy/shop/catalog";
const CALLS: u32 = 5;

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let labels = [format!("policy=\"{POLICY}\"")];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    // Counts of earlier calls may be on their way.
    std::thread::sleep(std::time::Duration::from_millis(3000));
    let before = stage.scrape()?.sum(METRIC, &labels);
    evidence.did(format_args!(
        "{POLICY}, mode Audit, allows clerks only; {MAINFRAME} calls catalog.shop:9200 {CALLS} times"
    ));
    let mark = stage.log_mark()?;
    for _ in 0..CALLS {
        let answer = stage.call(MAINFRAME, "catalog.shop:9200", "-4")?.answered()?;
        if answer.host != "catalog" {
            evidence.check(false, format_args!("{} answered", answer.host));
        }
    }
    evidence.check(true, format_args!("all {CALLS} are answered"));
    let expected = before + f64::from(CALLS);
    let scrape =
        stage.scrape_until("the audits to be counted", |scrape| scrape.sum(METRIC, &labels) >= expected)?;
    let after = scrape.sum(METRIC, &labels);
    evidence.check(
        (after - expected).abs() < 0.5,
        format_args!("{METRIC} of the policy went from {before} to {after}, exactly {CALLS} more"),
    );
    let line = mark
        .wait("the audit", |line| line.field("/verdict") == "audited" && line.field("/policy") == POLICY)?;
    evidence.check(true, format_args!("log: {}", line.text));
    Ok(())
}
