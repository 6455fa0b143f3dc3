//! `--reset` in a run directory: there a pod is in the mesh by its manifests, so nothing is labelled.

use super::super::endpoint::EndpointError;
use super::super::node::each;
use super::super::output::View;
use super::super::place::Place;
use super::super::{CliError, EnrolArguments, Outcome};
use super::plan::{Fate, Target};
use super::{Enrolled, Row, Told};

/// Has what the pods have open from before ended.
pub(super) async fn reset(
    place: &Place,
    arguments: &EnrolArguments,
    enrol: bool,
) -> Result<(View, Outcome), CliError> {
    let namespace = arguments.namespace.as_deref().unwrap_or("default");
    let target = Target::parse(&arguments.target, namespace)?;
    let nodes = place.nodes(None).await?;
    let mut pods = Vec::new();
    let told = each(&nodes, |node| async move { (node, node.agent.get::<Vec<Told>>("/pods").await) });
    for (node, told) in told.await {
        pods.extend(
            told?.into_iter().filter(|pod| is_meant(&target, pod)).map(|pod| row(pod, &node.name, enrol)),
        );
    }
    if let (Target::Pod(namespace, name), true) = (&target, pods.is_empty()) {
        return Err(EndpointError::NoPod(format!("{namespace}/{name}")).into());
    }
    let mut answer = Enrolled { object: target.to_string(), mode: None, changed: false, reset: true, pods };
    eprint!("{}", answer.announcement());
    let (wanted, _) = super::wanted(enrol);
    if arguments.dry_run || !answer.pods.iter().any(|row| row.expected == wanted) {
        return Ok(answer.shown(true));
    }
    let done = answer.carry_out(&nodes, enrol, arguments.timeout).await;
    Ok(answer.shown(done))
}

fn is_meant(target: &Target, pod: &Told) -> bool {
    match target {
        Target::Namespace(namespace) => pod.namespace == *namespace,
        Target::Pod(namespace, name) => pod.namespace == *namespace && pod.name == *name,
    }
}

fn row(pod: Told, node: &str, enrol: bool) -> Row {
    let (expected, why) = match (enrol, pod.state.as_str()) {
        (true, "wired" | "pending") => (Fate::Joins, ""),
        (true, _) => (Fate::Stays, "it is not enrolled: label it, or its namespace, in its manifest"),
        (false, "plain") => (Fate::Leaves, ""),
        (false, _) => (Fate::Stays, "it is still enrolled: take the label off in its manifest"),
    };
    Row {
        pod: format!("{}/{}", pod.namespace, pod.name),
        node: node.to_owned(),
        expected,
        why: why.to_owned(),
        state: Some(pod.state),
        reason: pod.reason,
        ended: None,
    }
}
