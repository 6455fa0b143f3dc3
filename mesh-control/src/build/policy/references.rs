//! Names in a policy that stand for nothing that there is. They are warned of, no more: what is
//! missing may be created later.

use std::collections::BTreeSet;

use mesh_api::{GroupId, crd::PortRef};

use super::{
    entry::PeerDraft,
    read::{Draft, SubjectDraft},
    resolve::World,
    rule::RuleDraft,
};
use crate::objects::ObjectName;

/// Services that the policy targets.
pub(super) fn check_targets(draft: &Draft, world: &World<'_>, dangling: &mut Vec<String>) {
    if let SubjectDraft::Services(names) = &draft.subject {
        for name in names.iter().filter(|name| !world.services.contains_key(name)) {
            dangling.push(format!("spec.targetRefs: Service {name} does not exist, so the policy selects no pod by it; create it or correct the name"));
        }
    }
}

/// Whom a rule names.
pub(super) fn check_references(
    draft: &Draft,
    rule: &RuleDraft,
    world: &World<'_>,
    dangling: &mut Vec<String>,
) {
    for entry in rule.peers.iter().flatten() {
        let matcher = match entry {
            PeerDraft::Services(names) => {
                for name in names.iter().filter(|name| !world.services.contains_key(name)) {
                    dangling.push(format!(
                        "rule `{}`: Service {name} does not exist; create it or correct the name",
                        rule.name
                    ));
                }
                continue;
            }
            PeerDraft::Matching(matcher) => matcher,
        };
        let known = |namespace: &str| world.namespaces.has(namespace) || world.pods.any_in(namespace);
        for namespace in matcher.namespaces.iter().flatten().filter(|namespace| !known(namespace)) {
            dangling.push(format!(
                "rule `{}`: namespace `{namespace}` does not exist; create it or correct the name",
                rule.name
            ));
        }
        for pattern in
            matcher.spiffe.iter().flatten().filter(|pattern| pattern.trust_domain != world.trust_domain)
        {
            dangling.push(format!(
                "rule `{}`: trust domain `{}` is not this mesh's ({}), so no pod of it matches",
                rule.name, pattern.trust_domain, world.trust_domain
            ));
        }
        let own: Vec<String> = draft.namespace().map(str::to_owned).into_iter().collect();
        let namespaces = match (&matcher.namespaces, &matcher.namespace_selector) {
            (Some(namespaces), _) => namespaces,
            (None, None) => &own,
            (None, Some(_)) => continue,
        };
        for account in matcher.service_accounts.iter().flatten() {
            let exists = |namespace: &String| {
                account == "default" || world.service_accounts.contains(&ObjectName::new(namespace, account))
            };
            if !namespaces.iter().any(exists) {
                dangling.push(format!(
                    "rule `{}`: service account `{account}` does not exist in {}; create it or correct the name",
                    rule.name,
                    namespaces.join(", ")
                ));
            }
        }
    }
}

/// Names of ports that no selected pod has.
pub(super) fn check_port_names(
    draft: &Draft,
    rule: &RuleDraft,
    subject: &BTreeSet<GroupId>,
    world: &World<'_>,
    dangling: &mut Vec<String>,
) {
    for port in rule.ports.iter().flatten() {
        let PortRef::Name(name) = &port.port else { continue };
        let of_targets = || {
            let services = match &draft.subject {
                SubjectDraft::Services(names) => names.as_slice(),
                SubjectDraft::Own(_) | SubjectDraft::Cluster(..) => &[],
            };
            let ports = services
                .iter()
                .filter_map(|name| world.services.get(name))
                .flat_map(|service| &service.ports);
            ports.into_iter().any(|own| own.protocol == port.protocol)
                && world.port_names.iter().any(|(protocol, own, _)| *protocol == port.protocol && own == name)
        };
        let groups = || subject.iter().filter_map(|id| world.pods.groups().get(id));
        let found =
            groups().any(|group| group.ports_named(port.protocol, name).next().is_some()) || of_targets();
        if !found && (!subject.is_empty() || matches!(draft.subject, SubjectDraft::Services(_))) {
            dangling.push(format!(
                "rule `{}`: no selected pod has a {:?} port named `{name}`, so the port matches nothing; name the port in containers[].ports or write its number",
                rule.name, port.protocol
            ));
        }
    }
}
