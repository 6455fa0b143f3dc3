//! What whoever asks may do: for installing the mesh, or for asking it.

use super::seen::Seen;
use super::{Checked, Verdict};

/// Something that one may be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// The verb.
    pub verb: &'static str,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// Its part, such as `exec`; empty for none.
    pub subresource: &'static str,
    /// Where; nothing for the whole cluster.
    pub namespace: Option<String>,
    /// What does not work without it.
    pub purpose: &'static str,
    /// Whether nothing works without it.
    pub needed: bool,
}

const INSTALL: &str = "installing the mesh";
const ASK: &str = "asking agents and controller";

/// The rights that are asked about: before the installation those that it takes, afterwards those that
/// meshctl's questions take.
#[must_use]
pub fn rights(pre: bool, mesh: &str) -> Vec<Right> {
    let right = |verb, group, resource, subresource, own: bool, purpose, needed| Right {
        verb,
        group,
        resource,
        subresource,
        namespace: own.then(|| mesh.to_owned()),
        purpose,
        needed,
    };
    let rbac = "rbac.authorization.k8s.io";
    let admission = "admissionregistration.k8s.io";
    if pre {
        return vec![
            right("create", "", "namespaces", "", false, INSTALL, true),
            right("create", "apiextensions.k8s.io", "customresourcedefinitions", "", false, INSTALL, true),
            right("create", rbac, "clusterroles", "", false, INSTALL, true),
            right("create", rbac, "clusterrolebindings", "", false, INSTALL, true),
            right("create", rbac, "roles", "", true, INSTALL, true),
            right("create", rbac, "rolebindings", "", true, INSTALL, true),
            right("create", "", "serviceaccounts", "", true, INSTALL, true),
            right("create", "", "services", "", true, INSTALL, true),
            right("create", "apps", "daemonsets", "", true, INSTALL, true),
            right("create", "apps", "deployments", "", true, INSTALL, true),
            right("create", "policy", "poddisruptionbudgets", "", true, INSTALL, true),
            right(
                "create",
                admission,
                "validatingadmissionpolicies",
                "",
                false,
                "the floor under mTLS",
                false,
            ),
        ];
    }
    vec![
        right("list", "", "pods", "", true, ASK, true),
        right("get", "", "pods", "exec", true, ASK, true),
        right("create", "", "pods", "exec", true, ASK, true),
        right("get", "coordination.k8s.io", "leases", "", true, "finding the controller that leads", false),
        right("get", "", "pods", "", false, "finding a pod's node", false),
        right("patch", "", "namespaces", "", false, "`meshctl enroll` of a namespace", false),
    ]
}

/// MESH-C002.
pub(super) fn granted(seen: &Seen) -> Checked {
    let rights = seen.rights.as_deref()?;
    let mut verdict = Verdict::ok(format!("{} rights, all granted", rights.len()));
    for (right, _) in rights.iter().filter(|(_, granted)| !granted) {
        let place = match &right.namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in the whole cluster".to_owned(),
        };
        let found = format!("you may not {} {} {place}: {}", right.verb, right.name(), right.purpose);
        let todo = "have somebody bind you a role with that, or do it as somebody who has one";
        if right.needed { verdict.fail(found, todo) } else { verdict.warn(found, todo) }
    }
    Ok(verdict)
}

impl Right {
    /// `resource.group/subresource`.
    fn name(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let part = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        format!("{}{group}{part}", self.resource)
    }
}
