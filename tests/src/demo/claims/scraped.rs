//! What the node's one scrape target tells of everything so far.

use crate::demo::{Error, evidence::Evidence, scrape::Scrape, stage::Stage};

/// A metric, the labels that make it this evidence, and what it is evidence of.
const WANTED: &[(&str, &[&str], &str)] = &[
    (
        "mesh_tcp_connections_opened_total",
        &["source_workload=\"teller\"", "destination_service=\"bank/ledger\"", "proof=\"kernel\""],
        "proven connections to a Service",
    ),
    ("mesh_tcp_connections_closed_total", &["how=\"PolicyChanged\""], "closed by a policy change"),
    (
        "mesh_tcp_sent_bytes_total",
        &["source_workload=\"teller\"", "destination_service=\"bank/ledger\""],
        "bytes",
    ),
    ("mesh_tcp_round_trip_seconds_count", &["source_workload=\"teller\""], "round-trip times"),
    (
        "mesh_denied_total",
        &["policy=\"AccessPolicy/bank/teller\"", "rule=\"no-shop\""],
        "refused by egress policy",
    ),
    (
        "mesh_denied_total",
        &["policy=\"AccessPolicy/bank/vault\"", "rule=\"no-shop\""],
        "refused by ingress policy",
    ),
    ("mesh_denied_total", &["reason=\"MtlsRequired\""], "refused for want of proof"),
    ("mesh_denied_total", &["reason=\"DefaultDenied\""], "refused by default"),
    (
        "mesh_tcp_connections_opened_total",
        &["source_workload=\"teller\"", "destination_service=\"bank/archive\"", "proof=\"mtls\""],
        "through the tunnel to the other node",
    ),
    ("mesh_tcp_connections_failed_total", &["how=\"NameMismatch\""], "failed the check of the name"),
    ("mesh_audited_total", &["policy=\"AccessPolicy/shop/catalog\""], "audited"),
    ("mesh_kernel_probes_passed_total", &[], "probes"),
    ("mesh_identities", &["state=\"valid\""], "identities with a valid certificate"),
    ("mesh_pods", &["state=\"wired\""], "pods enforced"),
    ("mesh_local_proof", &[], "source addresses are validated, so that a tuple is proof"),
];

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did("GET /metrics on the node");
    let complete =
        |scrape: &Scrape| WANTED.iter().all(|(metric, labels, _)| scrape.sum(metric, labels) > 0.0);
    // What is missing is shown below.
    let scrape = stage.scrape_until("the scrape to be complete", complete).or_else(|_| stage.scrape())?;
    for (metric, labels, of) in WANTED {
        let lines = scrape.lines(metric, labels);
        match lines.iter().find(|line| !line.ends_with(" 0")) {
            Some(line) => evidence.check(true, format_args!("{of}: {line}")),
            None => evidence.check(false, format_args!("{of}: no {metric} with {}", labels.join(","))),
        }
    }
    let series = scrape.0.lines().filter(|line| !line.starts_with('#')).count();
    evidence.saw(format_args!("{series} samples in all"));
    Ok(())
}
