//! The rules that both policy kinds share.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    GrpcRule, HttpRule, LabelSelector, PortRule,
    schema::{LABEL, SPIFFE, SUBDOMAIN, cidrs, map_not_built, names_not_built},
};

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

/// A kind of rules: the fields of every rule, with what this kind says of those that differ.
macro_rules! rule {
    (
        $(#[$kind:meta])*
        $name:ident {
            $(#[$peers_says:meta])* $peers:ident: $peer:ty,
            $(#[$ports_says:meta])* ports,
            $(#[$mtls_says:meta])* mtls,
        }
    ) => {
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
        $(#[$kind])*
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[x_kube(validation = ("has(self.ports) || !(has(self.http) || has(self.grpc) || has(self.jwt) || has(self.limit))", "http, grpc, jwt and limit need ports"))]
        #[x_kube(validation = ("!(has(self.http) || has(self.grpc)) || !has(self.ports) || self.ports.all(port, !has(port.protocol) || port.protocol == 'TCP')", "http and grpc need TCP ports"))]
        #[x_kube(validation = Rule::new("!has(self.jwt)").message("jwt is not built yet; take it out").field_path(".jwt"))]
        #[x_kube(validation = Rule::new("!has(self.limit)").message("limit is not built yet; take it out").field_path(".limit"))]
        pub struct $name {
            /// How logs and `meshctl` call the rule.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = 128))]
            pub name: Option<String>,
            /// Allow where it is left out.
            #[serde(default)]
            pub action: Action,
            $(#[$peers_says])*
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 64))]
            pub $peers: Option<Vec<$peer>>,
            $(#[$ports_says])*
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 64))]
            pub ports: Option<Vec<PortRule>>,
            $(#[$mtls_says])*
            #[serde(default)]
            pub mtls: Mtls,
            /// Which requests: any entry, here or of `grpc`. Every connection where both are left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 16))]
            pub http: Option<Vec<HttpRule>>,
            /// Which calls: any entry, here or of `http`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 32))]
            pub grpc: Option<Vec<GrpcRule>>,
            /// Not built yet.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "map_not_built")]
            pub jwt: Option<Value>,
            /// Not built yet.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "map_not_built")]
            pub limit: Option<Value>,
        }
    };
}

rule! {
    /// A rule about connections that arrive at the selected pods.
    #[x_kube(validation = Rule::new("!has(self.mtls) || self.mtls != 'Off'")
        .message("mtls: Off is for egress rules only; write Preferred or Required")
        .field_path(".mtls"))]
    IngressRule {
        /// Who: any entry. Anyone where it is left out; an empty list is refused.
        from: Source,
        /// Which container ports: any entry. Every port where it is left out.
        ports,
        /// Required: proven sources only.
        mtls,
    }
}

rule! {
    /// A rule about connections that the selected pods make.
    EgressRule {
        /// To whom: any entry. Anyone where it is left out; an empty list is refused.
        to: Destination,
        /// Which ports of the destination: any entry. Every port where it is left out.
        ports,
        /// How the connection is protected.
        mtls,
    }
}

/// An entry of the list of who is at the other side: the fields of every such entry, then its own.
macro_rules! entry {
    ($(#[$kind:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
        $(#[$kind])*
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            /// Service accounts, any of them; of the policy's own namespace unless `namespaces` or
            /// `namespaceSelector` says which.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 253), pattern(SUBDOMAIN)))]
            pub service_accounts: Option<Vec<String>>,
            /// Namespaces by name, any of them.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63), pattern(LABEL)))]
            pub namespaces: Option<Vec<String>>,
            /// Namespaces by label.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub namespace_selector: Option<LabelSelector>,
            /// SPIFFE IDs, any of them; `*` may stand for a whole namespace or service account.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 1024), pattern(SPIFFE)))]
            pub spiffe: Option<Vec<String>>,
            /// Pods by label; of the policy's own namespace unless `namespaces` or `namespaceSelector`
            /// says which, in a ClusterAccessPolicy of every namespace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub pods: Option<LabelSelector>,
            /// Address ranges, any of them. `0.0.0.0/0` is every IPv4 address and no IPv6 address.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "cidrs")]
            pub cidrs: Option<Vec<String>>,
            $($own)*
        }
    };
}

entry! {
    /// One entry of `from`: every field that is there must hold, at least one must be there.
    #[x_kube(validation = ("has(self.serviceAccounts) || has(self.namespaces) || has(self.namespaceSelector) || has(self.spiffe) || has(self.pods) || has(self.cidrs)", "names nobody; name someone, or leave the list out for anyone"))]
    Source {}
}

entry! {
    /// One entry of `to`: every field that is there must hold, at least one must be there.
    #[x_kube(validation = ("!has(self.services) || !(has(self.serviceAccounts) || has(self.namespaces) || has(self.namespaceSelector) || has(self.spiffe) || has(self.pods) || has(self.cidrs))", "services stands alone in its entry; write the other fields as an entry of their own"))]
    #[x_kube(validation = ("has(self.serviceAccounts) || has(self.namespaces) || has(self.namespaceSelector) || has(self.spiffe) || has(self.pods) || has(self.cidrs) || has(self.services) || has(self.fqdns)", "names nobody; name someone, or leave the list out for anyone"))]
    #[x_kube(validation = Rule::new("!has(self.fqdns)").message("fqdns is not built yet; take it out").field_path(".fqdns"))]
    Destination {
        /// Services, any of them: their addresses and every endpoint behind them. Stands alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1, max = 64))]
        pub services: Option<Vec<ServiceRef>>,
        /// Not built yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "names_not_built")]
        pub fqdns: Option<Value>,
    }
}

/// A Service by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRef {
    /// The Service's name.
    #[schemars(length(min = 1, max = 63), pattern(LABEL))]
    pub name: String,
    /// Its namespace; the policy's own where it is left out, required in a ClusterAccessPolicy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), pattern(LABEL))]
    pub namespace: Option<String>,
}
