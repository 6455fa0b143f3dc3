//! Keys and roots change while everything goes on.

use std::{collections::BTreeSet, fmt, time::Duration};

use super::names::identity;
use crate::demo::{
    Error,
    bed::wait_for,
    evidence::Evidence,
    stage::{AUDITOR, NODES, Stage, TELLER},
    traffic::Traffic,
};

/// Longest time until the old root is trusted no longer.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    evidence.did(format_args!(
        "{TELLER} keeps calling archive.bank:9300 and {AUDITOR} ledger.bank:9000, each on the other node, IPv4 and IPv6"
    ));
    let mut traffic = [
        Traffic::start(stage, TELLER, "archive.bank:9300", "-4")?,
        Traffic::start(stage, AUDITOR, "ledger.bank:9000", "-6")?,
    ];
    let (before, serials) = (Authority::now(stage)?, serials(stage)?);
    evidence.saw(format_args!("{before}"));
    let name = identity(TELLER.0, TELLER.1);
    evidence.saw(format_args!("serial number of {name}: {}", listed(&serials)));

    evidence
        .did(format_args!("meshctl ca rotate; workloads' certificates live for {} here", stage.workload_ttl));
    stage.meshctl(&["ca", "rotate"])?;
    let mut told = BTreeSet::new();
    let after = wait_for("the new root to be the only one", PATIENCE, || {
        let now = Authority::now(stage).map_err(|error| error.to_string())?;
        for node in NODES.into_iter().filter(|_| now.roots == 2) {
            let scrape = stage.scrape_of(node).map_err(|error| error.to_string())?;
            if scrape.sum("mesh_trust_roots", &[]) > 1.5 {
                told.insert(node);
            }
        }
        let done = now.stable && now.generation > before.generation;
        if done { Ok(now) } else { Err(now.to_string()) }
    })?;
    evidence.check(
        told == BTreeSet::from(NODES),
        format_args!("meanwhile both roots were believed by {}", Vec::from_iter(told).join(" and ")),
    );
    evidence.check(after.roots == 1 && after.issuer != before.issuer, format_args!("{after}"));
    let renewed = self::serials(stage)?;
    evidence.check(
        !renewed.is_empty() && renewed.is_disjoint(&serials),
        format_args!("serial number of {name}: {}", listed(&renewed)),
    );
    for (traffic, from) in traffic.iter_mut().zip([TELLER, AUDITOR]) {
        let count = traffic.since_last()?;
        evidence.check(
            count.connections > 0 && count.failed == 0 && count.broken == 0,
            format_args!("{from}: {count}"),
        );
    }
    Ok(())
}

/// What the controller says of its authority.
struct Authority {
    generation: u64,
    issuer: String,
    roots: u64,
    stable: bool,
}

impl Authority {
    fn now(stage: &Stage) -> Result<Self, Error> {
        let (answer, _) = stage.meshctl(&["ca", "status"])?;
        let number = |field: &str| answer[field].as_u64().unwrap_or_default();
        Ok(Self {
            generation: number("generation"),
            issuer: answer["issuerKeyId"].as_str().unwrap_or_default().to_owned(),
            roots: number("roots"),
            stable: answer["phase"] == "Stable",
        })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, issuer, roots, .. } = self;
        write!(f, "root number {generation}, issuer key {issuer}; roots believed: {roots}")
    }
}

/// Serial numbers of the teller's certificates.
fn serials(stage: &Stage) -> Result<BTreeSet<String>, Error> {
    let (answer, _) = stage.meshctl(&["identity"])?;
    let wanted = identity(TELLER.0, TELLER.1);
    let ours = answer.as_array().into_iter().flatten().filter(|entry| entry["id"] == wanted.as_str());
    Ok(ours.filter_map(|entry| entry["serial"].as_str().map(str::to_owned)).collect())
}

fn listed(texts: &BTreeSet<String>) -> String {
    texts.iter().cloned().collect::<Vec<_>>().join(" ")
}
