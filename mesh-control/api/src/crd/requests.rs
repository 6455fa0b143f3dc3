//! The requests that a rule is about.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema::{GRPC_METHOD, GRPC_SERVICE, HEADER_NAME, HOST, METHOD, PATH};

/// An entry of `http`: every field that is there must hold, at least one must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.methods) || has(self.paths) || has(self.headers) || has(self.hosts)", "names no requests; name some, or leave http out for every connection"))]
pub struct HttpRule {
    /// Methods, any of them, in upper case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 32), pattern(METHOD)))]
    pub methods: Option<Vec<String>>,
    /// Paths, any of them, compared once the request's is normalised; without its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub paths: Option<Vec<PathRule>>,
    /// Headers, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub headers: Option<Vec<HeaderRule>>,
    /// Hosts, any of them, without port: `vault.bank`, or `*.bank` for every name below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253), pattern(HOST)))]
    pub hosts: Option<Vec<String>>,
}

/// A path: exactly one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("(has(self.exact) ? 1 : 0) + (has(self.prefix) ? 1 : 0) + (has(self.regex) ? 1 : 0) == 1", "exactly one of exact, prefix and regex is needed"))]
pub struct PathRule {
    /// This very path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), pattern(PATH))]
    pub exact: Option<String>,
    /// This path and every path below it: `/api` is `/api` and `/api/x`, not `/apis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), pattern(PATH))]
    pub prefix: Option<String>,
    /// Paths that this expression matches as a whole, in the syntax of Rust's regex crate: no
    /// look-around, no back-references, time linear in the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub regex: Option<String>,
}

/// A header: its name, and exactly one other field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("(has(self.exact) ? 1 : 0) + (has(self.prefix) ? 1 : 0) + (has(self.regex) ? 1 : 0) + (has(self.present) ? 1 : 0) == 1", "exactly one of exact, prefix, regex and present is needed"))]
#[x_kube(validation = Rule::new("!has(self.present) || self.present").message("must be true: a header that must not be there belongs in a Deny rule").field_path(".present"))]
pub struct HeaderRule {
    /// Its name, in any case.
    #[schemars(length(min = 1, max = 256), pattern(HEADER_NAME))]
    pub name: String,
    /// This very value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub exact: Option<String>,
    /// Values that begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub prefix: Option<String>,
    /// Values that this expression matches as a whole, in the syntax of Rust's regex crate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub regex: Option<String>,
    /// True: any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// An entry of `grpc`: every field that is there must hold, at least one must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("has(self.service) || has(self.method)", "service or method is needed"))]
pub struct GrpcRule {
    /// The service's full name, `package.Service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), pattern(GRPC_SERVICE))]
    pub service: Option<String>,
    /// The method's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), pattern(GRPC_METHOD))]
    pub method: Option<String>,
}
