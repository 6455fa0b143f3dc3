//! What became of every object: conditions, with the nodes' answers ([`mod@report`]) and with what they say
//! of their pods ([`enrolment`]), for the admin socket and as files, or in the objects' own status at the
//! API server. [`plan`] decides what is written there and [`apply`] writes it; for pods, whose status is
//! kubelet's, [`pods`] and [`mod@write_pods`]; for routes, whose parents are of several controllers, [`parents`] and
//! [`mod@write_routes`], all in [`rounds`]; what users must know becomes [`events`]. Of several controllers
//! only the one that leads writes.

mod apply;
mod enrolment;
mod events;
mod files;
mod parents;
mod plan;
mod pods;
mod report;
mod rounds;
#[cfg(test)]
mod tests;
mod write_pods;
mod write_routes;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

pub use apply::{Writer, write_to_cluster};
pub use enrolment::{enrolments, with_enrolments};
pub use events::Teller;
pub use report::report;
pub use write_pods::{PodWriter, write_pods};
pub use write_routes::{RouteWriter, write_routes};

use crate::{
    ads::{Acks, Store},
    objects::Conditions,
};
use files::Files;

/// Who the API server is told writes.
const FIELD_MANAGER: &str = "mesh-control";
/// Answers that come this close together are written down once.
const GATHER: Duration = Duration::from_millis(50);
/// What could not be written is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the status files of `directory`, and again whenever something changed. Returns when
/// the conditions' sender is gone.
pub async fn write_files(
    directory: PathBuf,
    mut conditions: watch::Receiver<Arc<Conditions>>,
    store: Arc<Store>,
    acks: Arc<Acks>,
) {
    let mut files = Files::new(directory);
    let mut answers = acks.changes();
    let mut sequence = store.sequence();
    // Files of before stay until it is known what is true now.
    if sequence.wait_for(|sequence| *sequence > 0).await.is_err() {
        return;
    }
    loop {
        let current = conditions.borrow_and_update().clone();
        answers.borrow_and_update();
        let reported = report(&current, &store, &acks);
        let failed = files.write(&reported);
        if let Err(error) = &failed {
            tracing::error!(%error, "status is not written");
        }
        tokio::select! {
            changed = conditions.changed() => if changed.is_err() { return },
            changed = answers.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if failed.is_err() => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}
