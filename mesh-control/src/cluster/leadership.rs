//! Whether this controller leads, for the process that acts on it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::lease::Standing;
use crate::ca::{Authority, Timestamp};

/// An authority that cannot be taken over is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// A lease that cannot be given back within this is left to run out.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(4);

/// The part that a controller has in the election.
#[derive(Debug)]
pub struct Leadership {
    pub(super) standing: watch::Receiver<Standing>,
    /// Another controller has written the authority's state.
    pub(super) overtaken: watch::Receiver<bool>,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) election: JoinHandle<()>,
}

impl Leadership {
    /// Waits until this controller leads and has what it signs with.
    pub fn won(&self, authority: Arc<Authority>) -> impl Future<Output = ()> + use<> {
        let mut standing = self.standing.clone();
        async move {
            let led = standing.wait_for(|standing| *standing == Standing::Leader).await.is_ok();
            if !led {
                // Whoever waits for the end of it is told.
                return std::future::pending().await;
            }
            let mut last = String::new();
            loop {
                let taking = authority.clone();
                let taken = tokio::task::spawn_blocking(move || taking.take_over(Timestamp::now())).await;
                let error = match taken {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                if error != last {
                    tracing::error!(%error, "the certificate authority is not taken over: no agent is served; trying again");
                    last = error;
                }
                sleep(AGAIN).await;
            }
        }
    }

    /// Waits until another controller leads; tells which.
    pub fn lost(&self) -> impl Future<Output = String> + use<> {
        let (mut standing, mut overtaken) = (self.standing.clone(), self.overtaken.clone());
        async move {
            let deposed = async {
                let deposed = standing.wait_for(|standing| matches!(standing, Standing::Deposed(_))).await;
                match deposed.as_deref() {
                    Ok(Standing::Deposed(by)) => by.clone(),
                    _ => std::future::pending().await,
                }
            };
            let overtaken = async {
                match overtaken.wait_for(|overtaken| *overtaken).await {
                    Ok(_) => "one that has written the authority's state".to_owned(),
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                by = deposed => by,
                by = overtaken => by,
            }
        }
    }

    /// Leaves the lead to another controller at once. Agents that are still connected then are cut when
    /// the process ends.
    pub async fn give_back(self) {
        let _ = self.stop.send(());
        let _ = timeout(GIVE_BACK_WITHIN, self.election).await;
    }
}
