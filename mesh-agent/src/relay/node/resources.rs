//! What discovery says, handed to everything that goes by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Node;
use crate::relay::desired::Desired;
use crate::relay::resource::{Kind, Resource, Workload};
use crate::relay::world::Settled;

impl Node {
    /// Gives a pod of this node that discovery knows no address of the one that wire sees; says whether
    /// that changed anything.
    pub(crate) fn place(&self, uid: &str) -> bool {
        let without = {
            let desired = self.desired.borrow();
            desired
                .local_named(uid)
                .filter(|(_, workload)| workload.addresses.is_empty())
                .map(|(name, workload)| (name.to_owned(), workload.clone()))
        };
        let Some((name, workload)) = without else { return false };
        let placed = self.placed(Resource::Workload(workload.clone()));
        let changes = placed != Resource::Workload(workload);
        if changes {
            self.set(&name, placed);
        }
        changes
    }

    /// A resource as it came, or a pod of this node with the address that wire sees of it: the API is
    /// told of it only after its first containers may have started.
    fn placed(&self, resource: Resource) -> Resource {
        match resource {
            Resource::Workload(workload)
                if workload.local.is_some() && !workload.host_network && workload.addresses.is_empty() =>
            {
                let routed = self.pods.borrow().get(&workload.uid).map(|report| report.routed.clone());
                Resource::Workload(Workload { addresses: routed.unwrap_or_default(), ..workload })
            }
            other => other,
        }
    }

    /// Takes a resource, new or changed.
    pub(crate) fn set(&self, name: &str, resource: Resource) {
        let resource = self.placed(resource);
        let mut desired = self.desired.borrow_mut();
        let mut touched = BTreeSet::new();
        match &resource {
            Resource::NodeConfig(config) => {
                self.world.set_trust_domain(&config.trust_domain);
                let before = desired.node().map(|node| node.trust_domain.as_str());
                if before != Some(config.trust_domain.as_str()) {
                    for workload in desired.local_workloads() {
                        if let Some(before) = before {
                            self.identities.follow(Some(workload), None, before);
                        }
                        self.identities.follow(None, Some(workload), &config.trust_domain);
                    }
                }
                self.names.borrow_mut().set_trust_domain(&config.trust_domain);
                self.telemetry.borrow_mut().configure(config.access_log);
            }
            Resource::Workload(workload) => {
                let mut names = self.names.borrow_mut();
                if let Some(before) = desired.workload(name) {
                    names.forget(before);
                }
                names.learn(workload);
                self.world.learn(name, workload);
                touched.extend(desired.workload(name).map(|before| before.uid.clone()));
                touched.insert(workload.uid.clone());
                if let Some(config) = desired.node() {
                    let before = desired.workload(name);
                    self.identities.follow(before, Some(workload), &config.trust_domain);
                }
            }
            Resource::TrustBundle(bundle) => self.trust.replace(Arc::clone(bundle)),
            Resource::PodPolicy(policy) => {
                touched.extend(desired.governed(name).map(str::to_owned));
                touched.insert(policy.pod_uid.clone());
            }
            Resource::Service(_) | Resource::ServiceRoutes(_) => {}
        }
        let kind = resource.kind();
        desired.set(name, resource);
        self.settle(&desired, &touched);
        self.route(&desired, kind, name);
    }

    /// Forgets a resource.
    pub(crate) fn remove(&self, kind: Kind, name: &str) {
        let mut desired = self.desired.borrow_mut();
        let mut touched = BTreeSet::new();
        if kind == Kind::PodPolicy {
            touched.extend(desired.governed(name).map(str::to_owned));
        }
        if kind == Kind::Workload
            && let Some(before) = desired.workload(name)
        {
            self.names.borrow_mut().forget(before);
            self.world.forget(name);
            touched.insert(before.uid.clone());
            if let Some(config) = desired.node() {
                self.identities.follow(Some(before), None, &config.trust_domain);
            }
        }
        desired.remove(kind, name);
        self.settle(&desired, &touched);
        self.route(&desired, kind, name);
    }

    /// Tells the workers what became of a Service or its routes.
    fn route(&self, desired: &Desired, kind: Kind, name: &str) {
        match kind {
            Kind::Service => self.routing.set_service(name, desired.service(name)),
            Kind::ServiceRoutes => self.routing.set_routes(name, desired.routes(name)),
            Kind::NodeConfig | Kind::TrustBundle | Kind::PodPolicy | Kind::Workload => {}
        }
    }

    /// Tells the workers what became of pods whose state may have changed.
    fn settle(&self, desired: &Desired, uids: &BTreeSet<String>) {
        for uid in uids {
            let pod = desired.local_workload(uid).map(|workload| Settled {
                workload,
                ingress: desired.ingress(uid),
                egress: desired.egress(uid),
                rules: desired.rules(uid),
            });
            self.world.settle(uid, pod);
        }
    }
}
