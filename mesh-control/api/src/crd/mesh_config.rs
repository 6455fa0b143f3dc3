//! `MeshConfig`: the settings of the whole mesh. There is one, named `default`.

use kube::{CustomResource, KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    LabelSelector, Status,
    schema::{LABEL, SUBDOMAIN, TRUST_DOMAIN, duration_pattern, issuer_ttl, root_ttl, workload_ttl},
};

/// What the `MeshConfig` says; everything has a default.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "mesh.internal", version = "v1alpha1", kind = "MeshConfig", category = "meshinternal")]
#[kube(
    shortname = "mcfg",
    status = "Status",
    doc = "The settings of the whole mesh; there is one, named default."
)]
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
    name = "CA",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"CAReady\")].status"
))]
#[kube(printcolumn(
    name = "Nodes",
    type_ = "string",
    json_path = ".status.conditions[?(@.type==\"Programmed\")].message",
    priority = 1
))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[kube(validation = Rule::new("self.metadata.name == 'default'").message("metadata.name: the only MeshConfig is named default"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshConfigSpec {
    /// SPIFFE trust domain, `cluster.local` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), pattern(TRUST_DOMAIN))]
    pub trust_domain: Option<String>,
    /// What holds where no policy decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// Defaults of single namespaces. Of several that name one namespace the strictest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub namespaces: Option<Vec<NamespaceDefaults>>,
    /// Which pods are in the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// The certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,
    /// How connections between nodes are carried; Auto where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// What is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

/// What holds where no policy decides, after the fields of its own.
macro_rules! defaults {
    ($(#[$kind:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$kind])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($own)*
            /// Connections that arrive.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub access: Option<Access>,
            /// Connections that leave.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub egress: Option<EgressDefaults>,
            /// The floor for connections that arrive.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub mtls: Option<MtlsFloor>,
            /// Whether kernel-proven connections within a node are encrypted too.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub encryption: Option<Encryption>,
        }
    };
}

defaults! {
    /// What holds for pods where no policy decides.
    Defaults {}
}

defaults! {
    /// [`Defaults`] of the namespaces that `names` lists; what it leaves out stays as in `defaults`.
    NamespaceDefaults {
        /// The namespaces; at least one.
        #[schemars(length(min = 1, max = 1024), inner(length(min = 1, max = 63), pattern(LABEL)))]
        pub names: Vec<String>,
    }
}

/// The default for connections that leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressDefaults {
    /// Allow where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Whether pods under an egress policy may always ask the cluster's DNS; true where it is
    /// left out.
    #[serde(default, rename = "allowDNS", skip_serializing_if = "Option::is_none")]
    pub allow_dns: Option<bool>,
}

/// A default verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// What nothing decides is allowed.
    Allow,
    /// What nothing decides is refused.
    Deny,
}

/// The least that mutual TLS must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MtlsFloor {
    /// Unproven sources are admitted where a rule or default allows them.
    Preferred,
    /// Unproven TCP is refused whatever the rules say.
    Required,
}

/// Whether kernel-proven connections within a node are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Encryption {
    /// They are not: the bytes never leave the node's memory.
    Auto,
    /// They take the tunnel as well.
    Always,
}

/// Which pods are in the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enrolment {
    /// What a pod gets that discovery does not know yet; Open where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownPods>,
    /// Labels of a pod or its namespace that enrol it where neither has `mesh.internal/mode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What a pod gets that discovery does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UnknownPods {
    /// It is left alone, and counted.
    Open,
    /// It has no network until it is known.
    Closed,
}

/// The certificate authority: how long its certificates live, and whose it is.
///
/// Durations are a number with `h`, `m` or `s`, or several of them, such as `24h` or `1h30m`. A
/// change counts for certificates that are made from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = twice("workloadTTL", "24h", "issuerTTL", "2160h"))]
#[x_kube(validation = twice("issuerTTL", "2160h", "rootTTL", "87600h"))]
pub struct CertificateAuthority {
    /// Life of a root that the controller generates; 87600h where it is left out.
    #[serde(default, rename = "rootTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "root_ttl")]
    pub root_ttl: Option<String>,
    /// Life of an issuer that the controller generates; 2160h where it is left out.
    #[serde(default, rename = "issuerTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "issuer_ttl")]
    pub issuer_ttl: Option<String>,
    /// Life of the certificates of workloads and nodes; 24h where it is left out.
    #[serde(default, rename = "workloadTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "workload_ttl")]
    pub workload_ttl: Option<String>,
    /// The Secret that holds the issuer to sign with, as cert-manager writes it: `tls.crt`,
    /// `tls.key`, `ca.crt`. Where it is left out the controller's own directory counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// That one life is at least twice another, so that what it issues can be renewed in time. What is no duration is
/// refused elsewhere.
fn twice(shorter: &str, shorter_default: &str, longer: &str, longer_default: &str) -> Rule {
    let given = |name: &str, default: &str| {
        let form = duration_pattern!();
        format!(
            "(has(self.{name}) && self.{name} != '' && self.{name}.matches('{form}') ? duration(self.{name}) : duration('{default}'))"
        )
    };
    let (short, long) = (given(shorter, shorter_default), given(longer, longer_default));
    let message = format!(
        "{longer} ({longer_default} where it is left out) is less than twice {shorter} ({shorter_default} where it is left \
         out), so that it could not be renewed in time; make {longer} longer or {shorter} shorter"
    );
    Rule::new(format!("{long}.getSeconds() >= 2 * {short}.getSeconds()"))
        .message(message.as_str())
        .field_path(format!(".{longer}"))
}

/// A Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), pattern(SUBDOMAIN))]
    pub name: String,
    /// Its namespace.
    #[schemars(length(min = 1, max = 63), pattern(LABEL))]
    pub namespace: String,
}

/// How connections between nodes are carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Tunnel {
    /// The best that both nodes speak. There is one form so far, so this means HBONE.
    #[default]
    Auto,
    /// HTTP CONNECT over mutual TLS on port 15008, the form that Istio's ambient mode speaks.
    #[serde(rename = "HBONE")]
    Hbone,
}

/// What is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Telemetry {
    /// The log of connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLogDefaults>,
}

/// How and what the access log records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLogDefaults {
    /// JSON where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<AccessLogFormat>,
    /// Denied where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<AccessLogLevel>,
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    #[serde(rename = "JSON")]
    Json,
    /// One line for people.
    Text,
}

/// Which connections are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccessLogLevel {
    /// Those that were refused.
    Denied,
    /// All.
    All,
    /// None.
    Off,
}
