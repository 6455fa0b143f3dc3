//! `ClusterAccessPolicy`: rules of the cluster's owner, before and after the namespaces' own.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EgressRule, IngressRule, LabelSelector, Mode, Status};

/// The priority of a policy that names none: the last.
pub const DEFAULT_PRIORITY: u16 = 1000;

/// What a `ClusterAccessPolicy` says.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mesh.internal",
    version = "v1alpha1",
    kind = "ClusterAccessPolicy",
    plural = "clusteraccesspolicies",
    doc = "Rules of the cluster's owner, before and after the AccessPolicies of the namespaces.",
    category = "meshinternal",
    shortname = "capol",
    status = "Status"
)]
#[kube(printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"))]
#[kube(printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"))]
#[kube(printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"))]
#[kube(printcolumn(
    name = "Accepted",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
))]
#[kube(printcolumn(
    name = "Programmed",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
))]
#[kube(printcolumn(
    name = "Nodes",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"Programmed\")].message",
    priority = 1
))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.ingress) || has(self.egress)", "ingress or egress is needed"))]
#[x_kube(validation = Rule::new("self.tier == 'Admin' || !has(self.ingress) || self.ingress.all(rule, !has(rule.action) || rule.action != 'Pass')")
    .message("action: Pass is for the Admin tier only; write Allow or Deny")
    .field_path(".ingress"))]
#[x_kube(validation = Rule::new("self.tier == 'Admin' || !has(self.egress) || self.egress.all(rule, !has(rule.action) || rule.action != 'Pass')")
    .message("action: Pass is for the Admin tier only; write Allow or Deny")
    .field_path(".egress"))]
pub struct ClusterAccessPolicySpec {
    /// Before or after the AccessPolicies.
    pub tier: Tier,
    /// Lower decides first; 0 to 1000.
    #[serde(default = "default_priority")]
    #[schemars(range(max = 1000))]
    pub priority: u16,
    /// The pods it is about.
    pub subject: Subject,
    /// Enforce where it is left out.
    #[serde(default)]
    pub mode: Mode,
    /// Rules about connections that arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub ingress: Option<Vec<IngressRule>>,
    /// Rules about connections that leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub egress: Option<Vec<EgressRule>>,
}

fn default_priority() -> u16 {
    DEFAULT_PRIORITY
}

/// Where a `ClusterAccessPolicy` stands in the order of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Tier {
    /// Before the AccessPolicies.
    Admin,
    /// For what no AccessPolicy decided.
    Baseline,
}

/// The pods that a `ClusterAccessPolicy` is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// Namespaces by label; every namespace where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Pods of them by label; every pod where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<LabelSelector>,
}
