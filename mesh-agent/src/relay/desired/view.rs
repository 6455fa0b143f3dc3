//! What others read of the state.

use std::net::IpAddr;
use std::sync::Arc;

use super::services::ServicePortName;
use super::{Desired, Kind, NodeConfig, PodRules, PolicySet, Workload};
#[cfg(test)]
use super::{Rc, SetId};
use crate::relay::resource::{Service, ServiceRoutes};

impl Desired {
    /// Whether an enrolled local pod waits for its policy.
    pub(crate) fn awaits_policy(&self) -> bool {
        self.local.iter().any(|(uid, name)| {
            !self.policy_of.contains_key(uid)
                && self.workloads.get(name).is_some_and(|workload| workload.enrolled)
        })
    }

    /// Settings of the node, once they came.
    pub(crate) fn node(&self) -> Option<&NodeConfig> {
        self.node.as_ref()
    }

    /// Every workload.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.values()
    }

    /// The workload of a resource name.
    pub(crate) fn workload(&self, name: &str) -> Option<&Workload> {
        self.workloads.get(name)
    }

    /// The workloads at an address.
    pub(crate) fn workloads_at(&self, address: IpAddr) -> impl Iterator<Item = &Workload> {
        let names = self.at_address.get(&address).into_iter().flatten();
        names.filter_map(|name| self.workloads.get(name))
    }

    /// The local pod of a UID.
    pub(crate) fn local_workload(&self, uid: &str) -> Option<&Workload> {
        self.workloads.get(self.local.get(uid)?)
    }

    /// The same with its resource name.
    pub(crate) fn local_named(&self, uid: &str) -> Option<(&str, &Workload)> {
        let name = self.local.get(uid)?;
        Some((name, self.workloads.get(name)?))
    }

    /// Every local pod.
    pub(crate) fn local_workloads(&self) -> impl Iterator<Item = &Workload> {
        self.local.values().filter_map(|name| self.workloads.get(name))
    }

    /// The compiled ingress policy of a local pod: what denies everything while none has come,
    /// `None` where it says nothing.
    pub(crate) fn ingress(&self, uid: &str) -> Option<&PolicySet> {
        let compiled = self.policy_of.get(uid).and_then(|name| self.policies.get(name));
        let id = compiled.map_or(self.deny_all.id, |compiled| compiled.ingress);
        self.sets.get(id).map(|set| &**set)
    }

    /// The same of its egress policy.
    pub(crate) fn egress(&self, uid: &str) -> Option<&PolicySet> {
        let compiled = self.policy_of.get(uid).and_then(|name| self.policies.get(name));
        let id = compiled.map_or(self.deny_all.id, |compiled| compiled.egress);
        self.sets.get(id).map(|set| &**set)
    }

    /// The policy of a local pod for what is decided by request; `None`, which denies, while none has come
    /// or it could not be compiled.
    pub(crate) fn rules(&self, uid: &str) -> Option<&Arc<PodRules>> {
        self.policies.get(self.policy_of.get(uid)?)?.rules.as_ref()
    }

    /// UID of the pod that the policy of a resource name is of.
    pub(crate) fn governed(&self, name: &str) -> Option<&str> {
        self.policies.get(name).map(|compiled| compiled.policy.pod_uid.as_str())
    }

    /// The Service port that is dialled at an address.
    pub(crate) fn service_at(&self, address: IpAddr, port: u16, protocol: u8) -> Option<&ServicePortName> {
        self.services.at(address, port, protocol)
    }

    /// Every Service.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.known().values().map(|service| &**service)
    }

    /// The Service of a resource name.
    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.known().get(name)
    }

    /// The routes of a Service.
    pub(crate) fn routes(&self, name: &str) -> Option<&Arc<ServiceRoutes>> {
        self.services.routes().get(name)
    }

    /// How many of each type are held.
    pub(crate) fn counts(&self) -> [(Kind, usize); 6] {
        [
            (Kind::NodeConfig, usize::from(self.node.is_some())),
            (Kind::TrustBundle, usize::from(self.trusts)),
            (Kind::PodPolicy, self.policies.len()),
            (Kind::Workload, self.workloads.len()),
            (Kind::Service, self.services.known().len()),
            (Kind::ServiceRoutes, self.services.routes().len()),
        ]
    }

    /// A set in use.
    #[cfg(test)]
    pub(crate) fn compiled_set(&self, id: SetId) -> Option<&Rc<PolicySet>> {
        self.sets.get(id)
    }
}
