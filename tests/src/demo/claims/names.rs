//! Who is who between nodes: both ends prove a name, and the application still sees an ordinary client.

use crate::demo::{
    Error,
    access_log::{Line, Mark},
    evidence::Evidence,
    stage::{AUDITOR, CLERK, FAMILIES, NODE, OTHER_NODE, PodName, Stage, TELLER},
};

/// A call from one node to the other.
struct Across {
    from: PodName,
    from_node: &'static str,
    to: &'static str,
    service: (&'static str, &'static str),
    to_node: &'static str,
}

const ACROSS: [Across; 2] = [
    Across {
        from: TELLER,
        from_node: NODE,
        to: "archive.bank:9300",
        service: ("bank", "archive"),
        to_node: OTHER_NODE,
    },
    Across {
        from: AUDITOR,
        from_node: OTHER_NODE,
        to: "ledger.bank:9000",
        service: ("bank", "ledger"),
        to_node: NODE,
    },
];

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    for across in ACROSS {
        for (option, family) in FAMILIES {
            allowed(stage, evidence, &across, option, family)?;
        }
    }
    for (option, family) in FAMILIES {
        denied(stage, evidence, option, family)?;
    }
    Ok(())
}

fn allowed(
    stage: &Stage,
    evidence: &mut Evidence,
    across: &Across,
    option: &str,
    family: &str,
) -> Result<(), Error> {
    let Across { from, from_node, to, service: (namespace, service), to_node } = across;
    evidence.did(format_args!("{family}: {from} on {from_node} calls {to}, which is on {to_node}"));
    let (source_log, destination_log) = (stage.log_mark_of(from_node)?, stage.log_mark_of(to_node)?);
    let answer = stage.call(*from, to, option)?.answered()?;
    let pod = stage.pod(*from)?;
    let own = pod.address(option);
    let vip = stage.vip(namespace, service, option)?;
    evidence.check(
        answer.client_peer.ip() == vip,
        format_args!("client's getpeername {}, the Service's address", answer.client_peer),
    );
    evidence.check(
        Some(answer.server_peer.ip()) == own && answer.server_peer == answer.client,
        format_args!("server's accept       {}, the client's own address and port", answer.server_peer),
    );
    let (client, server) = (identity(from.0, from.1), identity(namespace, service));
    for (mark, node, reporter, other, name) in [
        (&source_log, from_node, "source", "/destination", server),
        (&destination_log, to_node, "destination", "/source", client),
    ] {
        let line = tunnelled(mark, reporter, &answer.client.to_string())?;
        let proven = line.field(&format!("{other}/identity")) == name && line.field("/proof") == "mtls";
        evidence.check(proven, format_args!("{node} logs {name}, proven by mTLS: {}", line.text));
    }
    Ok(())
}

fn denied(stage: &Stage, evidence: &mut Evidence, option: &str, family: &str) -> Result<(), Error> {
    let to = "archive.bank:9300";
    evidence.did(format_args!("{family}: {CLERK} on {NODE} calls {to}, whose policy denies the shop"));
    let (source_log, destination_log) = (stage.log_mark_of(NODE)?, stage.log_mark_of(OTHER_NODE)?);
    let failure = stage.call(CLERK, to, option)?.failed()?;
    evidence.check(failure.errno == "ECONNRESET", &failure);
    let line = destination_log.wait("the refusal", |line| {
        line.field("/policy") == "AccessPolicy/bank/archive" && line.field("/source/pod") == CLERK.1
    })?;
    let proven = line.field("/rule") == "no-shop"
        && line.field("/source/identity") == identity(CLERK.0, CLERK.1)
        && line.field("/proof") == "mtls";
    evidence.check(proven, format_args!("{OTHER_NODE} logs rule and proven client: {}", line.text));
    let line = source_log.wait("the refusal", |line| {
        line.field("/reason") == "PeerDenied" && line.field("/source/pod") == CLERK.1
    })?;
    evidence.check(true, format_args!("{NODE} logs that the other side refused: {}", line.text));
    Ok(())
}

/// The line of a connection through the tunnel, by its client's address.
fn tunnelled(mark: &Mark, reporter: &str, client: &str) -> Result<Line, Error> {
    mark.wait(&format!("the connection of {client}, told by its {reporter}"), |line| {
        line.field("/transport") == "tunnel"
            && line.field("/reporter") == reporter
            && line.field("/source/address") == client
    })
}

/// The SPIFFE ID of a pod of the demo: every one has a service account of its own name.
pub(super) fn identity(namespace: &str, service_account: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{service_account}")
}
