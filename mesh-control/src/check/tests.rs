//! Every check against objects that break it, and against a cluster where all is well.

mod asked;
mod listed;

use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};

use super::{Agent, Controller, Finding, Level, Seen, Unknown, rights, run};
use crate::admin::{NodeStatus, StatusReport};
use crate::ca::{CaReport, Phase, Timestamp};

pub(super) fn list<T: DeserializeOwned>(items: &[Value]) -> Vec<T> {
    items
        .iter()
        .map(|item| from_value(item.clone()).unwrap_or_else(|error| panic!("{item}: {error}")))
        .collect()
}

pub(super) fn namespace(name: &str, labels: Value) -> Value {
    json!({ "metadata": { "name": name, "labels": labels } })
}

/// A running pod of namespace bank on n1.
pub(super) fn pod(name: &str, labels: Value) -> Value {
    json!({
        "metadata": { "namespace": "bank", "name": name, "labels": labels },
        "spec": { "nodeName": "n1", "containers": [{ "name": "app", "image": "bank:1" }] },
        "status": { "phase": "Running", "podIP": "10.0.0.7" },
    })
}

fn node(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "status": { "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": "6.8.0-31-generic", "osImage": "",
            "bootID": "", "machineID": "", "systemUUID": "", "containerRuntimeVersion": "", "kubeletVersion": "", "kubeProxyVersion": "",
        } },
    })
}

fn definition(name: &str) -> Value {
    json!({
        "metadata": { "name": format!("{name}.mesh.internal") },
        "spec": { "group": "mesh.internal", "scope": "Cluster", "names": { "kind": "X", "plural": name }, "versions": [] },
        "status": { "conditions": [{ "type": "Established", "status": "True" }] },
    })
}

fn agent(name: &str) -> Agent {
    let status = json!({
        "version": "0.1.0", "ready": true, "unready": [], "discovery": { "connected": true, "complete": true },
        "wire": { "programmed": true }, "mesh_config_generation": 3,
    });
    let features = json!([{ "name": "tcx", "since": "6.6", "present": true, "needed": true, "detail": "" }]);
    Agent {
        node: name.to_owned(),
        status: Ok(from_value(status).unwrap()),
        features: Ok(from_value(features).unwrap()),
    }
}

fn authority() -> CaReport {
    let time = Timestamp::from_unix(1_795_359_012);
    CaReport {
        trust_domain: "cluster.local".into(),
        origin: "generated".into(),
        phase: Phase::Stable,
        phase_since: time,
        waiting_for: Vec::new(),
        generation: 1,
        issuer_key_id: "a6".into(),
        issuer_expires: time,
        root_expires: time,
        roots: 1,
        live: 2,
        revoked: Vec::new(),
        joining: Vec::new(),
        tokens_not_asked: 0,
        problem: None,
    }
}

/// Two nodes, the mesh on both, an enrolled namespace with a pod.
pub(super) fn healthy() -> Seen {
    let connected = |name: &str| NodeStatus {
        name: name.into(),
        connected: true,
        resources: [].into(),
        refused: Vec::new(),
    };
    let status = StatusReport {
        sequence: 1,
        source_error: None,
        nodes: vec![connected("n1"), connected("n2")],
        objects: Vec::new(),
    };
    let set = json!({
        "metadata": { "namespace": "mesh-system", "name": "mesh-agent" },
        "status": { "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2, "updatedNumberScheduled": 2 },
    });
    let deployment = json!({
        "metadata": { "namespace": "mesh-system", "name": "mesh-control" },
        "spec": { "replicas": 2, "selector": {}, "template": {} },
        "status": { "readyReplicas": 2, "updatedReplicas": 2 },
    });
    Seen {
        meshctl: "0.1.0".into(),
        mesh: "mesh-system".into(),
        kubernetes: Ok((1, 34)),
        rights: Ok(rights(false, "mesh-system").into_iter().map(|right| (right, true)).collect()),
        nodes: Ok(list(&[node("n1"), node("n2")])),
        namespaces: Ok(list(&[
            namespace("bank", json!({ "mesh.internal/mode": "enabled" })),
            namespace("mesh-system", json!({ "pod-security.kubernetes.io/enforce": "privileged" })),
        ])),
        pods: Ok(list(&[pod("teller", json!({ "app": "teller" }))])),
        services: Ok(Vec::new()),
        daemon_sets: Ok(list(&[set])),
        deployments: Ok(list(&[deployment])),
        network_policies: Ok(Vec::new()),
        validating: Ok(Vec::new()),
        mutating: Ok(Vec::new()),
        api_services: Ok(Vec::new()),
        definitions: Ok(list(&["accesspolicies", "clusteraccesspolicies", "meshconfigs"].map(definition))),
        cilium: Ok(Vec::new()),
        felix: Ok(Vec::new()),
        monitors: Ok(Vec::new()),
        mesh_configs: Ok(list(&[json!({ "metadata": { "name": "default", "generation": 3 }, "spec": {} })])),
        access_policies: Ok(Vec::new()),
        controller: Ok(Controller { status: Ok(status), ca: Ok(authority()) }),
        agents: Ok(vec![agent("n1"), agent("n2")]),
    }
}

/// The finding of a check; every other one has to be in order, so that what breaks one breaks only it.
pub(super) fn finding(seen: &Seen, id: &str) -> Finding {
    let findings = run(seen, false);
    for other in findings.iter().filter(|finding| finding.id != id) {
        assert_eq!(other.level, Level::Ok, "{other:?}");
    }
    findings.into_iter().find(|finding| finding.id == id).unwrap()
}

/// Breaks a healthy cluster; how that check comes out, with what it found.
pub(super) fn broken(id: &str, breaks: impl FnOnce(&mut Seen)) -> (Level, String) {
    let mut seen = healthy();
    breaks(&mut seen);
    let finding = finding(&seen, id);
    if finding.level == Level::Fail {
        assert!(!finding.todo.is_empty(), "{finding:?}");
    }
    (finding.level, finding.found.join("\n") + "\n" + &finding.todo.join("\n"))
}

#[test]
fn where_all_is_well_everything_is_green_and_ids_are_stable() {
    let findings = run(&healthy(), false);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    let ids: Vec<&str> = findings.iter().map(|finding| finding.id).collect();
    let wanted: Vec<String> = (1..=19).map(|number| format!("MESH-C{number:03}")).collect();
    assert_eq!(ids, wanted);
    let before: Vec<&str> = run(&healthy(), true).iter().map(|finding| finding.id).collect();
    let known = ["01", "02", "03", "13", "14", "15", "18", "19"].map(|number| format!("MESH-C0{number}"));
    assert_eq!(before, known);
}

#[test]
fn every_check_has_its_section() {
    let page = include_str!("../../../docs/checks.md");
    for finding in run(&healthy(), false) {
        let anchor = format!("\n## {}\n", finding.id);
        assert!(page.contains(&anchor), "docs/checks.md has no section {}", finding.id);
    }
}

#[test]
fn what_could_not_be_looked_at_is_never_green() {
    let unknown = || Unknown("listing is forbidden".to_owned());
    let mut seen = healthy();
    seen.kubernetes = Err(unknown());
    seen.rights = Err(unknown());
    seen.nodes = Err(unknown());
    seen.namespaces = Err(unknown());
    seen.pods = Err(unknown());
    seen.daemon_sets = Err(unknown());
    seen.deployments = Err(unknown());
    seen.network_policies = Err(unknown());
    seen.validating = Err(unknown());
    seen.definitions = Err(unknown());
    seen.cilium = Err(unknown());
    seen.controller = Err(unknown());
    seen.agents = Err(unknown());
    for finding in run(&seen, false) {
        assert_eq!(finding.level, Level::Skipped, "{finding:?}");
        assert_eq!(finding.found, ["listing is forbidden"]);
    }
}

#[test]
fn a_finding_names_so_many_objects_and_counts_the_rest() {
    let (level, found) = broken("MESH-C018", |seen| {
        let many = (0..15).map(|number| {
            let mut one = pod(&format!("p{number:02}"), json!({}));
            one["spec"]["hostPID"] = json!(true);
            one["spec"]["containers"][0]["securityContext"] = json!({ "privileged": true });
            one
        });
        seen.pods = Ok(list(&many.collect::<Vec<_>>()));
    });
    assert_eq!(
        (level, found.contains("p09"), found.contains("p10"), found.contains("and 5 more")),
        (Level::Warn, true, false, true)
    );
}
