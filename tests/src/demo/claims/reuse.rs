//! An address is not a name: who takes over a dead pod's address gets none of its connections.

use std::{net::SocketAddr, time::Duration};

use super::names::identity;
use crate::demo::{
    Error,
    bed::{Pod, wait_for},
    evidence::Evidence,
    partition::Partition,
    scrape::Scrape,
    stage::{CLERK, NODE, OTHER_NODE, Stage},
};

const NAMESPACE: &str = "shop";
const DEAD: &str = "kiosk";
const HEIR: &str = "impostor";
/// The image that the manifests name.
const IMAGE: &str = "mesh.internal/demo:test";
const PORT: u16 = 7000;
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let outcome = try_it(stage, evidence);
    for pod in [DEAD, HEIR] {
        stage.bed.delete("Pod", NAMESPACE, pod)?;
        stage.wait_gone(NAMESPACE, pod)?;
    }
    outcome
}

fn try_it(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    let dead = start(stage, DEAD, None)?;
    for address in addresses(&dead) {
        evidence.did(format_args!("{CLERK} on {NODE} calls {NAMESPACE}/{DEAD} on {OTHER_NODE} at {address}"));
        let told = answered_as(stage, address, DEAD)?;
        evidence.check(true, format_args!("answered by {DEAD}, which proved {told}"));
    }

    evidence.did(format_args!("{NODE} is cut off from the controller, and from nothing else"));
    let partition = Partition::of(stage, NODE)?;
    stage.bed.delete("Pod", NAMESPACE, DEAD)?;
    stage.wait_gone(NAMESPACE, DEAD)?;
    stage.bed.give_next(OTHER_NODE, &dead.addresses)?;
    let heir = start(stage, HEIR, dead.address("-4").map(|address| address.to_string()).as_deref())?;
    evidence.check(
        !dead.addresses.is_empty() && heir.addresses == dead.addresses,
        format_args!(
            "{DEAD} ended; {HEIR}, with another identity, has its addresses now, and {NODE} does not know"
        ),
    );
    for address in addresses(&heir) {
        evidence.did(format_args!("{CLERK} calls {address} again"));
        let mark = stage.log_mark()?;
        let failure = stage.call(CLERK, &address.to_string(), option(address))?.failed()?;
        evidence.check(failure.errno == "ECONNRESET", &failure);
        let line = mark.wait("the name", |line| line.field("/reason") == "NameMismatch")?;
        let expected = line.field("/expected_identity") == identity(NAMESPACE, DEAD)
            && line.field("/destination/identity") != identity(NAMESPACE, DEAD);
        let shown = line.field("/detail").contains(&identity(NAMESPACE, HEIR));
        evidence.check(expected && shown, format_args!("log: {}", line.text));
    }
    let failed = |scrape: &Scrape| scrape.sum("mesh_tcp_connections_failed_total", &["how=\"NameMismatch\""]);
    let scrape = stage.scrape_until("the mismatches to be counted", |scrape| failed(scrape) >= 2.0)?;
    let count = failed(&scrape);
    evidence.check(true, format_args!("mesh_tcp_connections_failed_total{{how=\"NameMismatch\"}} {count}"));

    evidence.did(format_args!("{NODE} hears the controller again"));
    drop(partition);
    for address in addresses(&heir) {
        let told = answered_as(stage, address, HEIR)?;
        evidence.check(true, format_args!("{address} is answered again, now as {told}"));
    }
    Ok(())
}

/// Calls until the answer came through the tunnel from that pod; gives the name it proved.
fn answered_as(stage: &Stage, address: SocketAddr, name: &str) -> Result<String, Error> {
    let wanted = identity(NAMESPACE, name);
    let call = || -> Result<(), Error> {
        let mark = stage.log_mark()?;
        let answer = stage.call(CLERK, &address.to_string(), option(address))?.answered()?;
        let client = answer.client.to_string();
        let line = mark.wait("the call", |line| line.field("/source/address") == client)?;
        if line.field("/destination/identity") == wanted && line.field("/transport") == "tunnel" {
            return Ok(());
        }
        Err(Error::Unexpected { program: "the access log".to_owned(), said: line.text })
    };
    wait_for(&format!("{address} to be answered by {name} through the tunnel"), PATIENCE, || {
        call().map_err(|error| error.to_string())
    })?;
    Ok(wanted)
}

fn option(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

fn addresses(pod: &Pod) -> Vec<SocketAddr> {
    pod.addresses.iter().map(|address| SocketAddr::new(*address, PORT)).collect()
}

/// Starts a pod with an identity of its own on the other node, at this address if one is named, and waits until it is
/// enforced.
fn start(stage: &Stage, name: &str, address: Option<&str>) -> Result<Pod, Error> {
    let annotations =
        address.map(|address| format!(", annotations: {{testbed.mesh.internal/address: {address}}}"));
    stage.bed.apply(&format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}{}}}\n\
         spec:\n  nodeName: {OTHER_NODE}\n  serviceAccountName: {name}\n  containers:\n  - name: main\n    image: {IMAGE}\n    \
         command: [mesh-echo, server, --tcp={PORT}]\n    \
         readinessProbe: {{tcpSocket: {{port: {PORT}}}, periodSeconds: 1}}\n",
        annotations.unwrap_or_default()
    ))?;
    stage.wait_wired(NAMESPACE, name)
}
