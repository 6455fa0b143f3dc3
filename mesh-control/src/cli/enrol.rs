//! `meshctl enroll` and `meshctl unenroll`: labels a namespace or a pod, says before what that will do to
//! each pod, and afterwards what the pods' nodes made of it. With `--reset` what the pods have open from before is ended.
//! In a run directory the labels are in the manifests, and only `--reset` is left to do.

mod directory;
mod plan;
mod reset;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use mesh_api::crd::MeshConfig;
use mesh_api::labels::MODE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, ClusterError};
use super::node::{Node, each};
use super::output::{View, cell, table};
use super::place::Place;
use super::{CliError, EnrolArguments, Outcome};
use plan::{Expected, Fate, Plan, Target, plan};

/// Between two looks at what became of it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The whole answer.
#[derive(Debug, Serialize)]
struct Enrolled {
    /// What was labelled.
    object: String,
    /// The label's value; nothing where the label was taken off.
    mode: Option<&'static str>,
    /// Whether it was changed, and not only looked at.
    changed: bool,
    /// Whether connections from before are ended.
    reset: bool,
    pods: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    pod: String,
    node: String,
    /// What was to be expected.
    expected: Fate,
    /// Why, where it is not what was asked for.
    why: String,
    /// What the pod's node says of it in the end; nothing where nobody was asked.
    state: Option<String>,
    reason: String,
    /// How many connections from before were ended; nothing where that was not done.
    ended: Option<u64>,
}

impl From<Expected> for Row {
    fn from(pod: Expected) -> Self {
        Self {
            pod: pod.name,
            node: pod.node,
            expected: pod.fate,
            why: pod.why,
            state: None,
            reason: String::new(),
            ended: None,
        }
    }
}

impl Row {
    /// What its node says of it. A pod that had no node when it was looked up is at the one that has it by now.
    fn take(&mut self, told: Option<&BTreeMap<&str, Told>>) {
        let Some(told) = told else { return };
        let of_node = if self.node.is_empty() {
            told.first_key_value()
        } else {
            told.get_key_value(self.node.as_str())
        };
        if let Some((node, pod)) = of_node {
            let (node, pod) = ((*node).to_owned(), pod.clone());
            (self.node, self.state, self.reason) = (node, Some(pod.state), pod.reason);
        }
    }
}

/// A pod, as its node's agent tells it.
#[derive(Debug, Clone, Deserialize)]
struct Told {
    namespace: String,
    name: String,
    state: String,
    #[serde(default)]
    reason: String,
}

/// Labels, and waits for what comes of it.
pub(super) async fn enrol(
    place: &Place,
    arguments: &EnrolArguments,
    enrol: bool,
) -> Result<(View, Outcome), CliError> {
    let cluster = match place {
        Place::Cluster(cluster) => cluster,
        Place::RunDir(_) if arguments.reset => return directory::reset(place, arguments, enrol).await,
        Place::RunDir(_) => place.cluster(if enrol { "enroll" } else { "unenroll" })?,
    };
    let target =
        Target::parse(&arguments.target, arguments.namespace.as_deref().unwrap_or(cluster.namespace()))?;
    let decided = decide(cluster, &target, enrol).await?;
    let mut answer = Enrolled {
        object: target.to_string(),
        mode: decided.mode,
        changed: decided.changes && !arguments.dry_run,
        reset: arguments.reset,
        pods: decided.pods.into_iter().map(Row::from).collect(),
    };
    eprint!("{}", answer.announcement());
    if answer.changed {
        label(cluster, &target, decided.mode).await?;
    }
    let (wanted, _) = wanted(enrol);
    if arguments.dry_run || !answer.pods.iter().any(|row| row.expected == wanted) {
        return Ok(answer.shown(true));
    }
    let nodes = cluster.nodes(None).await?;
    let done = answer.carry_out(&nodes, enrol, arguments.timeout).await;
    Ok(answer.shown(done))
}

/// What is waited for: of the pods that are to be so, and as their nodes call it.
const fn wanted(enrol: bool) -> (Fate, &'static str) {
    if enrol { (Fate::Joins, "wired") } else { (Fate::Leaves, "plain") }
}

async fn decide(cluster: &Cluster, target: &Target, enrol: bool) -> Result<Plan, CliError> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let name = target.namespace();
    let namespace = cluster.answer(format!("reading namespace {name}"), namespaces.get(name)).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), name);
    let pods = match target {
        Target::Namespace(_) => cluster.list(pods, ListParams::default()).await?,
        Target::Pod(_, pod) => {
            vec![cluster.answer(format!("reading pod {name}/{pod}"), pods.get(pod)).await?]
        }
    };
    let configs: Vec<MeshConfig> = match cluster.all().await {
        Err(error) if error.is_not_there() => Vec::new(),
        configs => configs?,
    };
    let selector = configs.into_iter().next().and_then(|config| config.spec.enrolment?.selector);
    Ok(plan(target, enrol, &namespace, &pods, selector.as_ref()))
}

async fn label(cluster: &Cluster, target: &Target, mode: Option<&str>) -> Result<(), ClusterError> {
    let change: Value = json!({ "metadata": { "labels": { MODE: mode } } });
    let (parameters, change) = (
        PatchParams { field_manager: Some("meshctl".to_owned()), ..PatchParams::default() },
        Patch::Merge(change),
    );
    let what = format!("labelling {target}");
    match target {
        Target::Namespace(name) => {
            let api: Api<Namespace> = Api::all(cluster.client.clone());
            cluster.answer(what, api.patch_metadata(name, &parameters, &change)).await?;
        }
        Target::Pod(namespace, name) => {
            let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
            cluster.answer(what, api.patch_metadata(name, &parameters, &change)).await?;
        }
    }
    Ok(())
}

/// Asks the pods' nodes until each pod is as expected, or the time is over; whether it is.
async fn follow(nodes: &[Node], rows: &mut [Row], enrol: bool, within: Duration) -> bool {
    let (wanted, state) = wanted(enrol);
    let end = Instant::now() + within;
    loop {
        let answers = each(nodes, |node| async move { (node, node.agent.get::<Vec<Told>>("/pods").await) });
        // By pod and node: another node may still have one of the same name that ends.
        let mut told: BTreeMap<String, BTreeMap<&str, Told>> = BTreeMap::new();
        for (node, pods) in answers.await {
            for pod in pods.into_iter().flatten() {
                told.entry(format!("{}/{}", pod.namespace, pod.name)).or_default().insert(&node.name, pod);
            }
        }
        for row in rows.iter_mut() {
            row.take(told.get(&row.pod));
        }
        let mut waited = rows.iter().filter(|row| row.expected == wanted);
        if waited.all(|row| row.state.as_deref() == Some(state)) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(LOOK_AGAIN).await;
    }
}

impl Enrolled {
    /// Waits for the nodes, and has them end what is from before if that is wanted; whether everything was done.
    async fn carry_out(&mut self, nodes: &[Node], enrol: bool, within: Duration) -> bool {
        let concerned: Vec<Node> =
            nodes.iter().filter(|node| self.pods.iter().any(|row| row.node == node.name)).cloned().collect();
        let followed = follow(&concerned, &mut self.pods, enrol, within).await;
        // Of those that are not as far nothing is ended: what is not in the mesh yet has no better connection to open.
        let ended = !self.reset || reset::reset(&concerned, &mut self.pods, enrol).await;
        followed && ended
    }

    fn shown(&self, done: bool) -> (View, Outcome) {
        (View::new(self, self.text()), if done { Outcome::Yes } else { Outcome::No })
    }

    /// What is going to happen, before it does.
    fn announcement(&self) -> String {
        let Self { object, mode, .. } = self;
        let mut text = match (self.changed, mode) {
            (false, _) => format!("{object} is not changed\n"),
            (true, Some(mode)) => format!("{object} gets the label {MODE}: {mode}\n"),
            (true, None) => format!("{object} loses the label {MODE}\n"),
        };
        let count = |fate: Fate| self.pods.iter().filter(|row| row.expected == fate).count();
        let (joins, leaves) = if self.reset {
            (
                "in the mesh; TCP connections that began without it are ended",
                "out of the mesh; connections that the agents carry for them are ended",
            )
        } else {
            (
                "in the mesh; connections that are open stay as they are, except where mtls: Required refuses them",
                "out of the mesh; connections that are open stay as they are",
            )
        };
        for (fate, what) in [
            (Fate::Joins, joins),
            (Fate::Leaves, leaves),
            (Fate::Refused, "refused by the mesh"),
            (Fate::Stays, "unchanged"),
        ] {
            match count(fate) {
                0 => {}
                1 => text.push_str(&format!("  1 pod: {what}\n")),
                number => text.push_str(&format!("  {number} pods: {what}\n")),
            }
        }
        text
    }

    fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .pods
            .iter()
            .map(|row| {
                let state = row.state.clone().unwrap_or_default();
                let why = if row.reason.is_empty() { &row.why } else { &row.reason };
                let mut cells =
                    vec![row.pod.clone(), cell(&row.node), row.expected.text().to_owned(), cell(&state)];
                if self.reset {
                    cells.push(cell(&row.ended.map(|ended| ended.to_string()).unwrap_or_default()));
                }
                cells.push(cell(why));
                cells
            })
            .collect();
        if rows.is_empty() {
            return "No pod is concerned yet.\n".to_owned();
        }
        let heads: &[&str] = if self.reset {
            &["POD", "NODE", "EXPECTED", "STATE", "ENDED", "REASON"]
        } else {
            &["POD", "NODE", "EXPECTED", "STATE", "REASON"]
        };
        table(heads, &rows)
    }
}
