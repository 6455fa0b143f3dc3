//! The rules that both policy kinds share.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LabelSelector, PortRule, not_built};

/// Whether a policy is enforced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// What it would decide is counted and logged; nothing is refused because of it.
    Audit,
    /// As if it were not there.
    Off,
}

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Let it through.
    #[default]
    Allow,
    /// Refuse it.
    Deny,
    /// Leave the decision to the AccessPolicies: Admin tier of ClusterAccessPolicy only.
    Pass,
}

/// What a rule says of mutual TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mtls {
    /// Ingress: matches proven and unproven sources. Egress: the tunnel whenever the destination
    /// is in the mesh, else plaintext.
    #[default]
    Preferred,
    /// Ingress: matches proven sources only. Egress: never plaintext to another node.
    Required,
    /// Egress only: plaintext.
    Off,
}

/// A rule about connections that arrive at the selected pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("!has(self.mtls) || self.mtls != 'Off'", "mtls: Off is for egress rules only"))]
#[x_kube(validation = ("has(self.ports) || !(has(self.http) || has(self.grpc) || has(self.jwt) || has(self.limit))", "http, grpc, jwt and limit need ports"))]
pub struct IngressRule {
    /// How logs and `meshctl` call the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Allow where it is left out.
    #[serde(default)]
    pub action: Action,
    /// Who: any entry. Anyone where it is left out; an empty list is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub from: Option<Vec<Source>>,
    /// Which container ports: any entry. Every port where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub ports: Option<Vec<PortRule>>,
    /// Required: proven sources only.
    #[serde(default)]
    pub mtls: Mtls,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub http: Option<Value>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub grpc: Option<Value>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub jwt: Option<Value>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub limit: Option<Value>,
}

/// A rule about connections that the selected pods make.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.ports) || !(has(self.http) || has(self.grpc) || has(self.jwt) || has(self.limit))", "http, grpc, jwt and limit need ports"))]
pub struct EgressRule {
    /// How logs and `meshctl` call the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Allow where it is left out.
    #[serde(default)]
    pub action: Action,
    /// To whom: any entry. Anyone where it is left out; an empty list is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub to: Option<Vec<Destination>>,
    /// Which ports of the destination: any entry. Every port where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub ports: Option<Vec<PortRule>>,
    /// How the connection is protected.
    #[serde(default)]
    pub mtls: Mtls,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub http: Option<Value>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub grpc: Option<Value>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub jwt: Option<Value>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub limit: Option<Value>,
}

/// One entry of `from`: every field that is there must hold, at least one must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Service accounts, any of them; of the policy's own namespace unless `namespaces` or
    /// `namespaceSelector` says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub service_accounts: Option<Vec<String>>,
    /// Namespaces by name, any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub namespaces: Option<Vec<String>>,
    /// Namespaces by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// SPIFFE IDs, any of them; `*` may stand for a whole namespace or service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub spiffe: Option<Vec<String>>,
    /// Pods by label; of the policy's own namespace unless `namespaces` or `namespaceSelector`
    /// says which, in a ClusterAccessPolicy of every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<LabelSelector>,
    /// Address ranges, any of them. `0.0.0.0/0` is every IPv4 address and no IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub cidrs: Option<Vec<String>>,
}

/// One entry of `to`: every field that is there must hold, at least one must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("!has(self.services) || !(has(self.serviceAccounts) || has(self.namespaces) || has(self.namespaceSelector) || has(self.spiffe) || has(self.pods) || has(self.cidrs))", "services stands alone in its entry"))]
pub struct Destination {
    /// As in [`Source::service_accounts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub service_accounts: Option<Vec<String>>,
    /// As in [`Source::namespaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub namespaces: Option<Vec<String>>,
    /// As in [`Source::namespace_selector`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// As in [`Source::spiffe`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub spiffe: Option<Vec<String>>,
    /// As in [`Source::pods`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<LabelSelector>,
    /// As in [`Source::cidrs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub cidrs: Option<Vec<String>>,
    /// Services, any of them: their addresses and every endpoint behind them. Stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub services: Option<Vec<ServiceRef>>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "not_built")]
    pub fqdns: Option<Value>,
}

/// A Service by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRef {
    /// The Service's name.
    pub name: String,
    /// Its namespace; the policy's own where it is left out, required in a ClusterAccessPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
