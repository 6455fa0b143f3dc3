//! The mesh's own objects: what runs, what is defined, and what the controller says.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_api::condition::{
    CONFLICTED, ConditionStatus, ENROLLED, PARTIALLY_INVALID, PROGRAMMED, SHADOWED, UDP_UNPROVEN,
};
use mesh_api::labels::GROUP;

use super::seen::{Answered, Controller, Seen};
use super::{Checked, Unknown, Verdict};

/// The plurals of the mesh's kinds.
const KINDS: [&str; 3] = ["accesspolicies", "clusteraccesspolicies", "meshconfigs"];
/// Conditions that say something when they are True.
pub(crate) const WARNINGS: [&str; 4] = [CONFLICTED, PARTIALLY_INVALID, SHADOWED, UDP_UNPROVEN];
const APPLY: &str =
    "`meshctl install | kubectl apply --server-side -f -`, with the values of the installation";

/// MESH-C005.
pub(super) fn definitions(seen: &Seen) -> Checked {
    let definitions = seen.definitions.as_deref()?;
    let mut verdict = Verdict::ok(format!("{} kinds of {GROUP}", KINDS.len()));
    for kind in KINDS {
        let name = format!("{kind}.{GROUP}");
        match definitions.iter().find(|one| one.metadata.name.as_deref() == Some(&name)) {
            None => verdict.fail(format!("there is no definition {name}"), APPLY),
            Some(definition) if !is_established(definition) => verdict.fail(
                format!("definition {name} is not established"),
                format!("`kubectl describe crd {name}` says why"),
            ),
            Some(_) => {}
        }
    }
    Ok(verdict)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// MESH-C006.
pub(super) fn controller(seen: &Seen) -> Checked {
    let deployments = seen.deployments.as_deref()?;
    let own = deployments.iter().find(|one| {
        let metadata = &one.metadata;
        metadata.namespace.as_deref() == Some(&seen.mesh) && metadata.name.as_deref() == Some("mesh-control")
    });
    let Some(own) = own else {
        let mut verdict = Verdict::default();
        verdict.fail(format!("there is no Deployment {}/mesh-control", seen.mesh), APPLY);
        return Ok(verdict);
    };
    let wanted = own.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = own.status.clone().unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or(0);
    let mut verdict = Verdict::ok(format!("{ready} of {wanted} replicas ready"));
    let see = format!(
        "`kubectl -n {} describe pods -l app.kubernetes.io/name=mesh-control` and the logs say why",
        seen.mesh
    );
    if ready == 0 {
        verdict.fail(
            format!("no replica of {wanted} is ready: nothing that changes reaches the nodes"),
            see.clone(),
        );
    } else if ready < wanted || status.updated_replicas.unwrap_or(0) < wanted {
        verdict.warn(
            format!(
                "{ready} of {wanted} replicas are ready, {} of this version",
                status.updated_replicas.unwrap_or(0)
            ),
            see.clone(),
        );
    }
    if ready > 0 {
        match &seen.controller.as_ref()?.status {
            Err(error) => verdict.fail(error.clone(), see),
            Ok(status) => {
                if let Some(error) = &status.source_error {
                    verdict.fail(
                        format!("it cannot read the cluster: {error}"),
                        "grant what is missing; docs/kubernetes.md lists what the controller may do",
                    );
                }
            }
        }
    }
    Ok(verdict)
}

/// MESH-C007.
pub(super) fn agents(seen: &Seen) -> Checked {
    let sets = seen.daemon_sets.as_deref()?;
    let own = sets.iter().find(|one| {
        let metadata = &one.metadata;
        metadata.namespace.as_deref() == Some(&seen.mesh) && metadata.name.as_deref() == Some("mesh-agent")
    });
    let Some(own) = own else {
        let mut verdict = Verdict::default();
        verdict.fail(format!("there is no DaemonSet {}/mesh-agent", seen.mesh), APPLY);
        return Ok(verdict);
    };
    let status = own.status.clone().unwrap_or_default();
    let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let mut verdict = Verdict::ok(format!("{ready} of {wanted} ready"));
    let see = format!(
        "`kubectl -n {} get pods -o wide -l app.kubernetes.io/name=mesh-agent` shows which; describe them",
        seen.mesh
    );
    if wanted == 0 {
        verdict.fail(
            "its DaemonSet is for no node",
            "see agent.nodeSelector and agent.tolerations in the values",
        );
    } else if ready < wanted {
        verdict.fail(format!("{ready} of {wanted} agents are ready"), see);
    } else if updated < wanted {
        verdict.warn(format!("{updated} of {wanted} agents are of the version that was applied last"), see);
    }
    let rest = seen
        .nodes
        .as_ref()
        .map_or(0, |nodes| i64::try_from(nodes.len()).unwrap_or(i64::MAX) - i64::from(wanted));
    if rest > 0 {
        verdict.warn(
            format!("{rest} nodes get no agent"),
            "that is right only for nodes without enrolled pods (agent.nodeSelector, agent.tolerations in the values)",
        );
    }
    Ok(verdict)
}

fn asked<T>(seen: &Seen, what: impl Fn(&Controller) -> &Answered<T>) -> Result<&T, Unknown> {
    what(seen.controller.as_ref()?).as_ref().map_err(|error| Unknown(error.clone()))
}

/// MESH-C010.
pub(super) fn conditions(seen: &Seen) -> Checked {
    let status = asked(seen, |controller| &controller.status)?;
    let mut verdict = Verdict::ok(format!("{} objects, all in order", status.objects.len()));
    for object in &status.objects {
        let name = match object.namespace.as_str() {
            "" => format!("{}/{}", object.kind, object.name),
            namespace => format!("{}/{namespace}/{}", object.kind, object.name),
        };
        for condition in &object.conditions {
            let is_warning = WARNINGS.contains(&condition.kind.as_str());
            if (condition.status == ConditionStatus::True) != is_warning {
                continue;
            }
            let found = format!(
                "{name} {}={:?} {}: {}",
                condition.kind, condition.status, condition.reason, condition.message
            );
            // On its way to the nodes: who does not take it is told by MESH-C008.
            let is_under_way = condition.kind == PROGRAMMED && condition.reason == "Pending";
            // Not decided yet is not wrong, and a pod that cannot be in the mesh breaks nothing else.
            let breaks_nothing = condition.kind == ENROLLED || condition.status == ConditionStatus::Unknown;
            if is_warning || is_under_way || breaks_nothing {
                verdict.warn(found, "");
            } else {
                verdict.fail(found, "correct the field that the message names");
            }
        }
    }
    Ok(verdict)
}

/// MESH-C011.
pub(super) fn authority(seen: &Seen) -> Checked {
    let report = asked(seen, |controller| &controller.ca)?;
    let mut verdict = Verdict::ok(format!(
        "{}, generation {}, {} certificates live",
        report.origin, report.generation, report.live
    ));
    if let Some(problem) = &report.problem {
        verdict.fail(problem.clone(), "see docs/identity.md, and the condition CAReady of the MeshConfig");
    }
    for waited in &report.waiting_for {
        verdict.warn(format!("the root is being replaced, and waits for {waited}"), "see that node's agent");
    }
    Ok(verdict)
}
