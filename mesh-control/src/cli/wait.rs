//! `meshctl status --wait`: until everything runs that was applied last, and every node has in its
//! kernel what the controller told.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, ClusterError};
use super::output::View;
use super::place::Place;
use super::pods::Part;
use super::status::{self, Waited};
use super::{CliError, Outcome};

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks until nothing is waited for, or the time is over.
pub(super) async fn wait(
    place: &Place,
    only: Option<&str>,
    within: Duration,
) -> Result<(View, Outcome), CliError> {
    let end = Instant::now() + within;
    loop {
        let looked = look(place, only).await;
        let over = Instant::now() >= end;
        match looked {
            Ok(waited) if waited.reasons.is_empty() => return Ok((waited.view, waited.outcome)),
            Ok(waited) if over => {
                for reason in &waited.reasons {
                    eprintln!("meshctl: waited {} seconds in vain: {reason}", within.as_secs());
                }
                return Ok((waited.view, Outcome::No));
            }
            Ok(_) => {}
            // Nothing may be there yet at all, and an API server that is away comes back.
            Err(CliError::RunDir(_)) if !over => {}
            Err(CliError::Cluster(error)) if !over && error.may_pass() => {}
            Err(error) => return Err(error),
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn look(place: &Place, only: Option<&str>) -> Result<Waited, CliError> {
    let mut rolling = match place {
        Place::Cluster(cluster) => rolling(cluster).await?,
        Place::RunDir(_) => Vec::new(),
    };
    let nodes = place.nodes(only).await?;
    let mut waited = status::waited(&place.controller().await?, Some(place), &nodes).await;
    rolling.append(&mut waited.reasons);
    Ok(Waited { reasons: rolling, ..waited })
}

async fn rolling(cluster: &Cluster) -> Result<Vec<String>, ClusterError> {
    let (agents, controllers) =
        tokio::join!(cluster.of_mesh::<DaemonSet>(""), cluster.of_mesh::<Deployment>(""));
    let agents = agents?.into_iter().find(|one| one.metadata.name.as_deref() == Some(Part::Agent.name()));
    let controllers =
        controllers?.into_iter().find(|one| one.metadata.name.as_deref() == Some(Part::Controller.name()));
    Ok(unfinished(agents.as_ref(), controllers.as_ref()))
}

/// What is not as it was applied last.
fn unfinished(agents: Option<&DaemonSet>, controllers: Option<&Deployment>) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut wait = |what: &str, seen: bool, wanted: i32, updated: i32, ready: i32| {
        if !seen {
            reasons.push(format!("{what}: its change is not looked at yet"));
        } else if updated < wanted || ready < wanted {
            reasons.push(format!("{what}: {ready} of {wanted} are ready, {updated} of this version"));
        }
    };
    match agents.and_then(|own| Some((own, own.status.as_ref()?))) {
        None => wait("the agents", false, 0, 0, 0),
        Some((own, status)) => wait(
            "the agents",
            status.observed_generation >= own.metadata.generation,
            status.desired_number_scheduled,
            status.updated_number_scheduled.unwrap_or(0),
            status.number_ready,
        ),
    }
    match controllers.and_then(|own| Some((own, own.status.as_ref()?))) {
        None => wait("the controller", false, 0, 0, 0),
        Some((own, status)) => wait(
            "the controller",
            status.observed_generation >= own.metadata.generation,
            own.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            status.updated_replicas.unwrap_or(0),
            status.ready_replicas.unwrap_or(0),
        ),
    }
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::unfinished;

    #[test]
    fn what_was_applied_last_counts() {
        let agents = |observed: i64, updated: i32, ready: i32| {
            from_value(json!({
                "metadata": { "name": "mesh-agent", "generation": 2 },
                "status": { "observedGeneration": observed, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
                    "numberMisscheduled": 0, "numberReady": ready, "updatedNumberScheduled": updated },
            }))
            .unwrap()
        };
        let controllers = from_value(json!({
            "metadata": { "name": "mesh-control", "generation": 1 }, "spec": { "replicas": 2, "selector": {}, "template": {} },
            "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2 },
        }))
        .unwrap();
        assert_eq!(unfinished(Some(&agents(2, 2, 2)), Some(&controllers)), Vec::<String>::new());
        assert_eq!(
            unfinished(Some(&agents(1, 2, 2)), Some(&controllers)),
            ["the agents: its change is not looked at yet"]
        );
        assert_eq!(
            unfinished(Some(&agents(2, 1, 2)), None),
            [
                "the agents: 2 of 2 are ready, 1 of this version",
                "the controller: its change is not looked at yet"
            ]
        );
    }
}
