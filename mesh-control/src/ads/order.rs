//! Make before break: in which order a stream is told of pods and of what leads to them.
//!
//! ```text
//! PodPolicy sent ──> Workload acknowledged ──> Service acknowledged ─┬─> Workload taken back
//!                                                                    └─> ServiceRoutes
//! ```
//!
//! A pod is held back until its policy is on its way: an agent that knows a pod and not its policy
//! refuses it everything. A Service is held back until the agent has acknowledged the pods in the
//! mesh that it leads to, and a pod that is no more is taken back when the agent has acknowledged
//! the Services that led to it: an agent that picks an address and does not know that it is a pod's
//! of the mesh would take it for somebody to talk to in plain text. Routes are held back until the Services that
//! changed before them or with them are acknowledged: a route that leads to a Service that the agent does not know
//! answers with errors what went well without it.
//!
//! An agent that begins with nothing puts its first state in force as a whole, and only acknowledges
//! when it has: its first Services come after the first pods, its first routes after them, and neither waits for an
//! acknowledgement.
//!
//! What is held back is kept as names, like everything else that waits, and nothing waits in a circle:
//! new pods wait for policies only, Services for new pods, removals and routes for Services.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use mesh_api::discovery::DeltaDiscoveryResponse;

use super::{store::View, subscription::Subscription};
use crate::build::{Encoded, ResourceKey, ResourceKind};

type Subscriptions = BTreeMap<ResourceKind, Subscription>;

/// What can be sent now. At most one response of a type is under way.
pub(super) fn next_responses(
    subscriptions: &mut Subscriptions,
    view: &View<'_>,
) -> Vec<DeltaDiscoveryResponse> {
    // Services that have nothing to say after all let pods be taken back at once.
    let kinds = ResourceKind::ALL.into_iter().chain([ResourceKind::Workload]);
    kinds.filter_map(|kind| next_response(subscriptions, kind, view)).collect()
}

fn next_response(
    subscriptions: &mut Subscriptions,
    kind: ResourceKind,
    view: &View<'_>,
) -> Option<DeltaDiscoveryResponse> {
    let mut subscription = subscriptions.remove(&kind)?;
    let response = match kind {
        ResourceKind::Workload => {
            let policies = subscriptions.get(&ResourceKind::PodPolicy);
            let services = subscriptions.get(&ResourceKind::Service);
            let services = services.filter(|_| subscription.may_send() && subscription.has_removals(view));
            let led_to = services.and_then(Subscription::unsettled_since);
            subscription.next_response(view, |name, pod, changed| match pod {
                Some(_) => policies.is_some_and(|policies| policies.is_to_send(name)),
                None => led_to.is_some_and(|since| since <= changed),
            })
        }
        ResourceKind::Service => {
            let pods = subscriptions.get(&ResourceKind::Workload);
            let pods = pods.filter(|_| subscription.may_send() && !begins(&subscription, subscriptions));
            let unknown = unacknowledged(pods, view);
            subscription.next_response(view, |_, service, _| {
                let leads_to = |service: &Encoded| service.addresses.iter().any(|to| unknown.contains(to));
                !unknown.is_empty() && service.is_some_and(leads_to)
            })
        }
        ResourceKind::ServiceRoutes => {
            let services = subscriptions.get(&ResourceKind::Service);
            let services =
                services.filter(|_| subscription.may_send() && !begins(&subscription, subscriptions));
            let unknown = services.and_then(Subscription::unsettled_since);
            subscription.next_response(view, |_, routes, changed| {
                routes.is_some() && unknown.is_some_and(|since| since <= changed)
            })
        }
        ResourceKind::NodeConfig | ResourceKind::TrustBundle | ResourceKind::PodPolicy => {
            subscription.next_response(view, |_, _, _| false)
        }
    };
    subscriptions.insert(kind, subscription);
    response
}

/// Whether the agent has nothing yet, of this type or another.
fn begins(subscription: &Subscription, others: &Subscriptions) -> bool {
    subscription.is_first() && subscription.began_empty() && others.values().all(Subscription::began_empty)
}

/// The addresses of pods in the mesh that the agent has not acknowledged as they are now.
fn unacknowledged(pods: Option<&Subscription>, view: &View<'_>) -> HashSet<IpAddr> {
    let names = pods.into_iter().flat_map(Subscription::unsettled);
    let pod = |name| view.get(&ResourceKey::new(ResourceKind::Workload, name));
    names.cloned().filter_map(pod).flat_map(|pod| pod.addresses.iter().copied()).collect()
}
