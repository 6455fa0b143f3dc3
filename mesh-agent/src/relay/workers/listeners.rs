//! Keeps the workers serving exactly the pods that wire has wired.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Workers;
use crate::handover::PodState;
use crate::handover::sockets::{Given, Need};
use crate::relay::node::Node;
use crate::relay::tunnel::channel::{AskError, Channel};
use crate::relay::tunnel::{Pod, ready};

/// How long until a pod whose listeners did not come is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Which listeners a pod is served at: of which namespace, and [`PodReport::listeners`].
///
/// [`PodReport::listeners`]: crate::handover::PodReport::listeners
type Served = (u64, u64);

/// Follows wire's reports for as long as relay runs.
pub(crate) async fn keep(node: Rc<Node>, workers: Rc<Workers>, channel: Channel) {
    let mut served: BTreeMap<String, Served> = BTreeMap::new();
    loop {
        let gone = std::mem::take(&mut *node.link.pods_gone.borrow_mut());
        // A pod that ended while wire was away is never reported gone: discovery says so.
        let ended = |uid: &String| {
            !node.pods.borrow().contains_key(uid) && node.desired.borrow().local_workload(uid).is_none()
        };
        let leaving: Vec<String> =
            served.keys().filter(|uid| gone.contains(*uid) || ended(uid)).cloned().collect();
        for uid in leaving {
            served.remove(&uid);
            node.link.serving.borrow_mut().remove(&uid);
            workers.forget(&uid.into()).await;
        }
        let complete = take_up(&node, &workers, &channel, &mut served).await;
        tokio::select! {
            () = node.link.pods_changed.notified() => {}
            // Of a wire that has given way nothing is heard: discovery says which pods end.
            () = tokio::time::sleep(AGAIN), if !complete || node.link.leaving.get() => {}
        }
    }
}

/// Serves every wired pod that is not served yet; false when some could not be.
async fn take_up(
    node: &Rc<Node>,
    workers: &Workers,
    channel: &Channel,
    served: &mut BTreeMap<String, Served>,
) -> bool {
    let wired: Vec<(String, Served)> = node
        .pods
        .borrow()
        .values()
        .filter(|report| report.state == PodState::Wired && report.netns != 0 && report.listeners != 0)
        .map(|report| (report.uid.clone(), (report.netns, report.listeners)))
        .collect();
    let mut complete = true;
    for (uid, (netns, made)) in wired {
        if served.get(&uid) == Some(&(netns, made)) {
            continue;
        }
        let pod = Pod { uid: Arc::from(uid.as_str()), netns };
        let outcome = match listeners(channel, &uid, netns).await {
            Ok(listeners) => workers.serve(&pod, listeners).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(()) => {
                tokio::task::spawn_local(tell_ready(Rc::clone(node), uid.clone(), made));
                served.insert(uid, (netns, made));
            }
            Err(trouble) => {
                complete = false;
                tracing::warn!(pod = uid, trouble, "the pod's tunnel is not served yet; trying again");
            }
        }
    }
    complete
}

/// Has wire told when a pod's connections can be carried, for the listeners made then; and says so, once for all
/// workers, where they cannot for a while.
async fn tell_ready(node: Rc<Node>, uid: String, made: u64) {
    let mut warned = false;
    while !ready(&node.world, &node.identities, &uid).await {
        if !std::mem::replace(&mut warned, true) {
            tracing::warn!(pod = uid, "the pod has no certificate yet; its tunnels are refused until it has");
        }
        if node.pods.borrow().get(&uid).is_none_or(|report| report.listeners != made) {
            return;
        }
    }
    node.link.serving.borrow_mut().insert(uid, made);
    node.link.changed.notify_one();
}

async fn listeners(channel: &Channel, uid: &str, netns: u64) -> Result<[OwnedFd; 2], AskError> {
    let (given, descriptors) = channel.ask(Need::Listeners { uid: uid.to_owned() }).await?;
    let count = descriptors.len();
    match (given, <[OwnedFd; 2]>::try_from(descriptors)) {
        (Given::Listeners { netns: of, .. }, Ok(listeners)) if of == netns => Ok(listeners),
        (given, _) => Err(AskError::Odd { given: format!("{given:?}"), descriptors: count }),
    }
}
