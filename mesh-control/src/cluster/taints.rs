//! Takes the taint off nodes whose agent is ready; [`taint`](crate::taint) says which.

use std::{sync::Arc, time::Duration};

use kube::{
    Client,
    core::{
        params::{Patch, PatchParams},
        request::Request,
    },
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use crate::{
    ads::Store,
    ca::Account,
    source::{Seen, told},
    taint::{Untainted, ready_to_go},
};

/// Between two looks, and so between two tries at a node.
const PAUSE: Duration = Duration::from_secs(1);
/// Nodes that are tried at a look.
const AT_ONCE: usize = 20;

/// Takes taints off while this replica is the one that writes.
pub(super) async fn remove(
    client: Client,
    agents: Account,
    seen: Seen,
    store: Arc<Store>,
    mut leads: watch::Receiver<bool>,
) {
    let mut built = store.sequence();
    let mut again = false;
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        built.borrow_and_update();
        let ready = seen.with_objects(|objects| ready_to_go(objects, &agents));
        let more = ready.len() > AT_ONCE;
        let tried = again;
        again = false;
        for node in ready.into_iter().take(AT_ONCE) {
            match write(&client, &node).await {
                Ok(()) => tracing::info!(node = %node.node, "its agent is ready: the taint is gone"),
                // The node changed meanwhile; the watch brings that.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => {
                    again = true;
                    if !tried {
                        tracing::warn!(node = %node.node, error = told(&error), "its taint cannot be taken off, trying again; check the ClusterRole of the controller (patch nodes)");
                    }
                }
            }
        }
        if !more {
            tokio::select! {
                changed = built.changed() => if changed.is_err() { return },
                changed = leads.changed() => if changed.is_err() { return },
                () = sleep(10 * PAUSE), if again => {}
            }
        }
        sleep(PAUSE).await;
    }
}

async fn write(client: &Client, node: &Untainted) -> Result<(), kube::Error> {
    let request =
        Request::new("/api/v1/nodes").patch(&node.node, &PatchParams::default(), &Patch::Merge(change(node)));
    client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}

/// With the version that the taints were read at, so that no other change of them is lost.
fn change(node: &Untainted) -> Value {
    json!({"metadata": {"resourceVersion": node.resource_version}, "spec": {"taints": node.taints}})
}
