//! Parts of schemas: the forms of names and addresses, and how many of something an object may list.
//!
//! Patterns and formats cost the API server nothing. A CEL rule costs what it may cost at worst, times the bounds of
//! every list around it, and a definition whose estimate is above the API server's budget is refused: so every list is
//! bounded, and rules in CEL stand where their message says more than a pattern would.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Names of namespaces and Services (RFC 1123 label), at most 63 characters.
pub(super) const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Names of service accounts and Secrets (RFC 1123 subdomain), at most 253 characters.
pub(super) const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Keys of labels: a subdomain and `/` may come first; at most 317 characters.
pub(super) const LABEL_KEY: &str =
    "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// Values of labels, at most 63 characters, perhaps none.
pub(super) const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
/// Patterns of SPIFFE IDs.
pub(super) const SPIFFE: &str = r"^spiffe://[a-z0-9._-]{1,255}/ns/([^/*]+|\*)/sa/([^/*]+|\*)$";
/// Trust domains (SPIFFE-ID specification, section 2.1), at most 255 characters.
pub(super) const TRUST_DOMAIN: &str = "^[a-z0-9._-]+$";

/// Methods (RFC 9110 section 9.1), upper case only: they are compared with case, and none that is registered has another.
pub(super) const METHOD: &str = "^[A-Z]+([-_][A-Z]+)*$";
/// Paths that a normalised one can be equal to, or below of, as far as a pattern says.
pub(super) const PATH: &str = "^/([-A-Za-z0-9._~!$&'()*+,;=:@/]|%[0-9a-fA-F]{2})*$";
/// Names of headers (RFC 9110 section 5.1), at most 256 characters.
pub(super) const HEADER_NAME: &str = "^[-A-Za-z0-9!#$%&'*+.^_`|~]+$";
/// Hosts: a name or an address, or `*.` and a name.
pub(super) const HOST: &str = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Full names of gRPC services.
pub(super) const GRPC_SERVICE: &str = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$";
/// Names of gRPC methods.
pub(super) const GRPC_METHOD: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// Address ranges. The API server reads `cidr` as the controller does, but for IPv4 in IPv6 form.
pub(super) fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 256,
        "items": {"type": "string", "format": "cidr", "maxLength": 49, "not": {"pattern": "^::[fF][fF][fF][fF]:"}}
    })
}

/// The labels of a selector: their values have the form of labels' values.
pub(super) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}
    })
}

/// A port by number or by name.
pub(super) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 63,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 1 && self <= 65535 \
                     : self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.matches('[a-z]')",
            "message": "must be a port number from 1 to 65535, or a port's name of lower-case letters, digits and `-` with a letter among them"
        }]
    })
}

/// Names that are not built yet: a rule beside them refuses them by name.
pub(super) fn names_not_built(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 253}})
}

/// A map that is not built yet: its inside is not described, and a rule beside it refuses it by name.
pub(super) fn map_not_built(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// What a duration looks like: below a century, so that CEL can reckon with it.
macro_rules! duration_pattern {
    () => {
        "^([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$"
    };
}
pub(super) use duration_pattern;

/// A duration between two others, as [`crate::duration`] reads it.
fn duration_between(least: &str, most: &str) -> Schema {
    let form = format!("self != '' && self.matches('{}')", duration_pattern!());
    let range = format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')");
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [
            {"rule": form, "message": "is not a duration; write a number with h, m or s, such as 24h or 1h30m"},
            {"rule": format!("!({form}) || ({range})"), "message": format!("must be between {least} and {most}")}
        ]
    })
}

/// Lives of roots, as the controller takes them.
pub(super) fn root_ttl(_: &mut SchemaGenerator) -> Schema {
    duration_between("8m", "438000h")
}

/// Lives of issuers, as the controller takes them.
pub(super) fn issuer_ttl(_: &mut SchemaGenerator) -> Schema {
    duration_between("2m", "87600h")
}

/// Lives of certificates of workloads and nodes, as the controller takes them.
pub(super) fn workload_ttl(_: &mut SchemaGenerator) -> Schema {
    duration_between("30s", "720h")
}
