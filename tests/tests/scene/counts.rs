//! What the node counts: exact denials and the kernel's counters from the scrape, everything else from the dump.

use std::time::Duration;

use mesh_tests::testbed::Testbed;
use serde_json::Value;

use super::{NODE, SOON};

/// How many refusals for this reason the node has counted, over all pods.
pub(crate) fn denied(bed: &Testbed, reason: &str) -> u64 {
    sum(&bed.metrics(NODE).unwrap(), "mesh_denied_total{", &format!("reason=\"{reason}\""))
}

/// A metric without labels; zero if it is not there.
pub(crate) fn metric(bed: &Testbed, name: &str) -> u64 {
    let scrape = bed.metrics(NODE).unwrap();
    scrape.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(number).sum()
}

/// The sum over the series of one family whose labels contain `label`.
pub(crate) fn sum(scrape: &str, family: &str, label: &str) -> u64 {
    let ours = scrape.lines().filter(|line| line.starts_with(family) && line.contains(label));
    ours.filter_map(|line| line.rsplit(' ').next()).map(number).sum()
}

fn number(text: &str) -> u64 {
    text.trim().parse::<f64>().unwrap_or_default() as u64
}

/// Waits until at least `more` further refusals for this reason are counted since `before`.
pub(crate) fn wait_denied(bed: &Testbed, reason: &str, before: u64, more: u64) {
    bed.wait_for(&format!("{more} more refusals for {reason}"), SOON, || {
        let now = denied(bed, reason);
        if now >= before + more { Ok(()) } else { Err(format!("{before} before, {now} now")) }
    })
    .unwrap();
}

/// Everything that the node's data path holds.
pub(crate) fn dump(bed: &Testbed) -> Value {
    dump_of(bed, NODE)
}

/// The same of another node.
pub(crate) fn dump_of(bed: &Testbed, node: &str) -> Value {
    let text = bed.admin(node, "/dump?flows=100000").unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("the dump is not JSON: {error}\n{text}"))
}

/// The published flows of the dump whose source is `source`, an address and port.
pub(crate) fn flows_from(bed: &Testbed, source: &str) -> Vec<Value> {
    let dump = dump(bed);
    let flows = dump["flows"].as_array().expect("a dump has flows");
    flows.iter().filter(|flow| flow["source"] == source).cloned().collect()
}

/// What the dump says of one pod.
pub(crate) fn pod_in_dump(bed: &Testbed, namespace: &str, name: &str) -> Option<Value> {
    let uid = bed.pod(namespace, name).ok()?.uid;
    dump(bed)["pods"].as_array()?.iter().find(|pod| pod["uid"] == uid.as_str()).cloned()
}

/// Waits until `look` holds.
pub(crate) fn eventually(
    bed: &Testbed,
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<(), String>,
) {
    bed.wait_for(what, timeout, &mut look).unwrap();
}
