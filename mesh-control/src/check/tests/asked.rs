//! Checks on what agents and controller answer, and on the mesh's own objects.

use mesh_api::condition::{CONFLICTED, Condition, ENROLLED, PROGRAMMED};
use serde_json::{from_value, json};

use super::{broken, list, namespace};
use crate::admin::ObjectStatus;
use crate::check::{Level, Seen, rights};

fn status(seen: &mut Seen) -> &mut crate::admin::StatusReport {
    seen.controller.as_mut().unwrap().status.as_mut().unwrap()
}

#[test]
fn the_oldest_kubernetes() {
    assert_eq!(broken("MESH-C001", |seen| seen.kubernetes = Ok((1, 30))).0, Level::Ok);
    let (level, found) = broken("MESH-C001", |seen| seen.kubernetes = Ok((1, 29)));
    assert!(level == Level::Fail && found.contains("1.29 is too old"), "{found}");
}

#[test]
fn a_right_that_is_missing_fails_where_nothing_works_without_it() {
    let lacking = |wanted: &'static str| {
        broken("MESH-C002", |seen| {
            let all = rights(false, "mesh-system").into_iter();
            seen.rights = Ok(all
                .map(|right| {
                    let granted = right.resource != wanted || right.verb == "list";
                    (right, granted)
                })
                .collect());
        })
    };
    let (level, found) = lacking("leases");
    assert!(
        level == Level::Warn && found.contains("get leases.coordination.k8s.io in namespace mesh-system"),
        "{found}"
    );
    let (level, found) = lacking("pods");
    assert!(level == Level::Fail && found.contains("create pods/exec in namespace mesh-system"), "{found}");
    assert!(rights(true, "x").iter().all(|right| right.verb == "create"));
}

#[test]
fn a_kernel_feature_that_is_needed() {
    let feature = |needed| json!([{ "name": "tcx", "since": "6.6", "present": false, "needed": needed, "detail": "not there" }]);
    let with = |needed| {
        broken("MESH-C004", |seen| {
            seen.agents.as_mut().unwrap()[1].features = Ok(from_value(feature(needed)).unwrap());
        })
    };
    let (level, found) = with(true);
    assert!(level == Level::Fail && found.contains("node n2 lacks tcx: not there"), "{found}");
    assert_eq!(with(false).0, Level::Ok);
    let silent = broken("MESH-C004", |seen| {
        seen.agents.as_mut().unwrap()[0].features = Err("node n1 broke off".into())
    });
    assert_eq!(silent.0, Level::Fail);
}

#[test]
fn a_definition_that_is_missing_or_not_taken() {
    let (level, found) = broken("MESH-C005", |seen| {
        seen.definitions.as_mut().unwrap().remove(0);
    });
    assert!(level == Level::Fail && found.contains("no definition accesspolicies.mesh.internal"), "{found}");
    let (level, found) = broken("MESH-C005", |seen| seen.definitions.as_mut().unwrap()[2].status = None);
    assert!(
        level == Level::Fail && found.contains("meshconfigs.mesh.internal is not established"),
        "{found}"
    );
}

#[test]
fn the_controller_runs_and_reads() {
    let replicas = |ready: i32| {
        broken("MESH-C006", |seen| {
            seen.deployments.as_mut().unwrap()[0].status.as_mut().unwrap().ready_replicas = Some(ready);
        })
    };
    assert_eq!(replicas(1).0, Level::Warn);
    assert_eq!(replicas(0).0, Level::Fail);
    assert_eq!(broken("MESH-C006", |seen| seen.deployments = Ok(Vec::new())).0, Level::Fail);
    let (level, found) =
        broken("MESH-C006", |seen| status(seen).source_error = Some("pods is forbidden".into()));
    assert!(level == Level::Fail && found.contains("pods is forbidden"), "{found}");
}

#[test]
fn an_agent_on_every_node() {
    let set = |change: fn(&mut k8s_openapi::api::apps::v1::DaemonSetStatus)| {
        broken("MESH-C007", move |seen| {
            change(seen.daemon_sets.as_mut().unwrap()[0].status.as_mut().unwrap());
        })
    };
    assert_eq!(set(|status| status.number_ready = 1).0, Level::Fail);
    assert_eq!(set(|status| status.updated_number_scheduled = Some(1)).0, Level::Warn);
    assert_eq!(set(|status| status.desired_number_scheduled = 0).0, Level::Fail);
    let (level, found) = set(|status| status.desired_number_scheduled = 1);
    assert!(level == Level::Warn && found.contains("1 nodes get no agent"), "{found}");
    assert_eq!(broken("MESH-C007", |seen| seen.daemon_sets = Ok(Vec::new())).0, Level::Fail);
}

#[test]
fn agents_are_connected_and_hold_the_latest() {
    let with = |field: &'static str, value: serde_json::Value| {
        broken("MESH-C008", move |seen| {
            let mut status = json!({
                "version": "0.1.0", "ready": true, "unready": [], "discovery": { "connected": true, "complete": true },
                "wire": { "programmed": true }, "mesh_config_generation": 3,
            });
            status[field] = value;
            seen.agents.as_mut().unwrap()[0].status = Ok(from_value(status).unwrap());
        })
    };
    assert_eq!(with("discovery", json!({ "connected": false, "complete": true })).0, Level::Fail);
    assert_eq!(with("wire", json!({ "programmed": false })).0, Level::Warn);
    assert_eq!(with("mesh_config_generation", json!(4)).0, Level::Ok);
    let (level, found) = with("mesh_config_generation", json!(2));
    assert!(level == Level::Warn && found.contains("generation 2 of the MeshConfig, not 3"), "{found}");
    let (level, found) = with("unready", json!(["wire is away"]));
    assert!(level == Level::Fail && found.contains("node n1: wire is away"), "{found}");
    let unknown = broken("MESH-C008", |seen| status(seen).nodes[1].connected = false);
    assert_eq!(unknown.0, Level::Warn);
}

#[test]
fn everything_is_of_one_version() {
    let (level, found) = broken("MESH-C009", |seen| seen.meshctl = "0.2.0".into());
    assert!(
        level == Level::Warn
            && found.contains("version 0.2.0: meshctl")
            && found.contains("agent on n1, the agent on n2"),
        "{found}"
    );
    let labels = json!({ "app.kubernetes.io/name": "mesh-control", "app.kubernetes.io/version": "0.0.9" });
    let other = json!({ "metadata": { "namespace": "mesh-system", "name": "c-1", "labels": labels } });
    let (level, found) = broken("MESH-C009", |seen| seen.pods = Ok(list(&[other])));
    assert!(level == Level::Warn && found.contains("version 0.0.9: controller mesh-system/c-1"), "{found}");
}

#[test]
fn conditions_that_say_something() {
    let with = |condition: Condition| {
        broken("MESH-C010", move |seen| {
            status(seen).objects.push(ObjectStatus {
                api_version: "mesh.internal/v1alpha1".into(),
                kind: "AccessPolicy".into(),
                namespace: "bank".into(),
                name: "vault".into(),
                conditions: vec![condition],
            });
        })
    };
    let (level, found) = with(Condition::failed("Accepted", "Invalid", "spec.ingress[0].ports: 0"));
    assert!(
        level == Level::Fail
            && found.contains("AccessPolicy/bank/vault Accepted=False Invalid: spec.ingress[0].ports: 0"),
        "{found}"
    );
    assert_eq!(with(Condition::holds(CONFLICTED, "Equal", "with x")).0, Level::Warn);
    assert_eq!(with(Condition::failed(CONFLICTED, "None", "")).0, Level::Ok);
    assert_eq!(with(Condition::failed(PROGRAMMED, "Pending", "1/2 nodes")).0, Level::Warn);
    assert_eq!(with(Condition::failed(PROGRAMMED, "Refused", "node n1")).0, Level::Fail);
    assert_eq!(with(Condition::failed(ENROLLED, "HostNetwork", "")).0, Level::Warn);
    assert_eq!(with(Condition::holds(PROGRAMMED, "All", "2/2 nodes")).0, Level::Ok);
}

#[test]
fn the_authority_is_the_one_that_is_asked_for() {
    let (level, found) = broken("MESH-C011", |seen| {
        seen.controller.as_mut().unwrap().ca.as_mut().unwrap().problem =
            Some("Secret a/b is not there".into());
    });
    assert!(level == Level::Fail && found.contains("Secret a/b is not there"), "{found}");
    let (level, found) = broken("MESH-C011", |seen| {
        seen.controller.as_mut().unwrap().ca.as_mut().unwrap().waiting_for = vec!["node n2".into()];
    });
    assert!(level == Level::Warn && found.contains("node n2"), "{found}");
}

#[test]
fn enrolled_pods_without_an_agent() {
    let (level, found) = broken("MESH-C012", |seen| {
        seen.agents.as_mut().unwrap().remove(0);
    });
    assert!(level == Level::Fail && found.contains("pod bank/teller is enrolled and on node n1"), "{found}");
    let plain = broken("MESH-C012", |seen| {
        seen.agents.as_mut().unwrap().remove(0);
        seen.namespaces = Ok(list(&[namespace("bank", json!({}))]));
    });
    assert_eq!(plain.0, Level::Ok);
}

#[test]
fn the_meshs_namespace_lets_the_agent_in() {
    let level = |level: &'static str| {
        broken("MESH-C019", move |seen| {
            seen.namespaces.as_mut().unwrap()[1].metadata.labels =
                Some([("pod-security.kubernetes.io/enforce".to_owned(), level.to_owned())].into());
        })
    };
    let (failed, found) = level("baseline");
    assert!(failed == Level::Fail && found.contains("kubectl label namespace mesh-system"), "{found}");
    assert_eq!(level("privileged").0, Level::Ok);
}
