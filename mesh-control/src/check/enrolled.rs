//! Which pods are to be in the mesh, and which of them admit only proven sources.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use mesh_api::crd::{AccessPolicySpec, Action, LabelSelector, MeshConfigSpec, Mode, Mtls, MtlsFloor};
use mesh_api::labels::{MODE, MODE_DISABLED, MODE_ENABLED};

use super::seen::{Known, Labels, Seen};

/// What the objects say of enrolment.
pub(super) struct Enrolment<'a> {
    pods: &'a [Pod],
    namespaces: BTreeMap<&'a str, &'a Labels>,
    selector: Option<LabelSelector>,
    config: MeshConfigSpec,
    policies: Vec<(&'a str, &'a AccessPolicySpec)>,
    services: BTreeMap<(&'a str, &'a str), &'a Labels>,
    all_services: &'a [Service],
}

impl<'a> Enrolment<'a> {
    pub(super) fn of(seen: &'a Seen) -> Known<Self> {
        let namespaces = seen.namespaces.as_deref()?.iter();
        let config =
            seen.mesh_configs.as_deref()?.first().map(|config| config.spec.clone()).unwrap_or_default();
        let policies = seen.access_policies.as_deref()?.iter();
        let services = seen.services.as_deref()?.iter();
        Ok(Self {
            pods: seen.pods.as_deref()?,
            namespaces: namespaces
                .filter_map(|one| Some((one.metadata.name.as_deref()?, one.metadata.labels.as_ref()?)))
                .collect(),
            all_services: seen.services.as_deref()?,
            selector: config.enrolment.as_ref().and_then(|enrolment| enrolment.selector.clone()),
            config,
            policies: policies
                .filter_map(|policy| Some((policy.metadata.namespace.as_deref()?, &policy.spec)))
                .collect(),
            services: services
                .filter_map(|service| {
                    let name = (service.metadata.namespace.as_deref()?, service.metadata.name.as_deref()?);
                    Some((name, service.spec.as_ref()?.selector.as_ref()?))
                })
                .collect(),
        })
    }

    /// The enrolled pods that have not ended.
    pub(super) fn pods(&self) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().filter(|pod| self.is_enrolled(pod))
    }

    /// The enrolled pods behind a Service.
    pub(super) fn behind(&self, namespace: &str, service: &str) -> Vec<&'a Pod> {
        let Some(selector) = self.services.get(&(namespace, service)) else { return Vec::new() };
        let selected = |pod: &&Pod| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && !selector.is_empty()
                && super::seen::has_all(pod.metadata.labels.as_ref(), selector)
        };
        self.pods().filter(selected).collect()
    }

    /// The labels of the Services that a pod is behind.
    pub(super) fn services_of(&self, pod: &'a Pod) -> impl Iterator<Item = &'a Labels> {
        let before = |service: &&Service| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            service.metadata.namespace == pod.metadata.namespace
                && selector.is_some_and(|wanted| {
                    !wanted.is_empty() && super::seen::has_all(pod.metadata.labels.as_ref(), wanted)
                })
        };
        self.all_services.iter().filter(before).filter_map(|service| service.metadata.labels.as_ref())
    }

    /// Whether a namespace's label enrols what is in it.
    pub(super) fn enrols(&self, namespace: &str) -> bool {
        let labels = self.namespaces.get(namespace);
        let mode = labels.and_then(|labels| labels.get(MODE)).map(String::as_str);
        let selected = || {
            let labels = labels.copied().cloned().unwrap_or_default();
            self.selector.as_ref().is_some_and(|selector| selector.matches(&labels))
        };
        mode == Some(MODE_ENABLED) || (mode != Some(MODE_DISABLED) && selected())
    }

    /// Whether a pod is to be in the mesh.
    pub(super) fn is_enrolled(&self, pod: &Pod) -> bool {
        let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        if on_host || matches!(ended, Some("Succeeded" | "Failed")) {
            return false;
        }
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        match labels.get(MODE).map(String::as_str) {
            Some(MODE_ENABLED) => true,
            Some(_) => false,
            None => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                let kept_out = self
                    .namespaces
                    .get(namespace)
                    .is_some_and(|labels| labels.get(MODE).is_some_and(|mode| mode != MODE_ENABLED));
                let selected = self.selector.as_ref().is_some_and(|selector| selector.matches(&labels));
                self.enrols(namespace) || (selected && !kept_out)
            }
        }
    }

    /// Whether a pod refuses TCP from sources that prove nothing: by the floor of its namespace, or
    /// because every rule that allows anything asks for proof.
    pub(super) fn requires_proof(&self, pod: &Pod) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if self.floor(namespace) == MtlsFloor::Required {
            return true;
        }
        let selecting: Vec<_> = self
            .policies
            .iter()
            .filter(|(of, policy)| {
                *of == namespace && policy.mode == Mode::Enforce && self.selects(of, policy, pod)
            })
            .filter_map(|(_, policy)| policy.ingress.as_ref())
            .collect();
        let mut allowing = selecting.iter().copied().flatten().filter(|rule| rule.action == Action::Allow);
        !selecting.is_empty() && allowing.all(|rule| rule.mtls == Mtls::Required)
    }

    fn floor(&self, namespace: &str) -> MtlsFloor {
        let of_namespace = self.config.namespaces.iter().flatten();
        let own = of_namespace
            .filter(|entry| entry.names.iter().any(|name| name == namespace))
            .filter_map(|entry| entry.mtls)
            .max();
        let general = self.config.defaults.as_ref().and_then(|defaults| defaults.mtls);
        own.or(general).unwrap_or(MtlsFloor::Preferred)
    }

    fn selects(&self, namespace: &str, policy: &AccessPolicySpec, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let by_label = policy.selector.as_ref().is_some_and(|selector| selector.matches(&labels));
        by_label
            || policy.target_refs.iter().flatten().any(|target| {
                let selector = self.services.get(&(namespace, target.name.as_str()));
                selector.is_some_and(|selector| super::seen::has_all(Some(&labels), selector))
            })
    }
}
