//! Which identities a node needs: those of its enrolled pods.

use mesh_api::SpiffeId;

use super::Identities;
use crate::relay::resource::Workload;

/// The identity that a pod here needs a certificate of. A pod in the node's own network namespace
/// is never in the mesh.
fn wanted(workload: &Workload, trust_domain: &str) -> Option<SpiffeId> {
    let in_mesh = workload.local.is_some() && workload.enrolled && !workload.host_network;
    let id = || SpiffeId::new(trust_domain, &workload.namespace, &workload.service_account);
    in_mesh.then(id).and_then(|id| {
        id.inspect_err(|error| tracing::error!(pod = workload.name, %error, "a pod has no identity")).ok()
    })
}

impl Identities {
    /// A pod came, changed or went. What it needs now is wanted before what it needed is not, so
    /// that an identity that stays keeps its certificate.
    pub(crate) fn follow(&self, before: Option<&Workload>, now: Option<&Workload>, trust_domain: &str) {
        let needs = |workload: Option<&Workload>| {
            workload.and_then(|workload| Some((wanted(workload, trust_domain)?, workload.uid.clone())))
        };
        let (before, now) = (needs(before), needs(now));
        if before == now {
            return;
        }
        if let Some((id, uid)) = now {
            self.want(&id, &uid);
        }
        if let Some((id, uid)) = before {
            self.unwant(&id, &uid);
        }
    }
}
