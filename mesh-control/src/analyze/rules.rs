//! The rules by which findings are called. Their names stay as they are: pipelines name them.

use mesh_api::{
    condition::{ACCEPTED, CONFLICTED, ENROLLED, RESOLVED_REFS, SHADOWED, UDP_UNPROVEN, UNIQUE},
    labels::GROUP,
};
use serde::Serialize;

use crate::objects::ObjectRef;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is not what it says: refused, or without effect.
    Error,
    /// It may not be what is meant.
    Warning,
    /// Nothing was judged.
    Note,
}

impl Level {
    /// As it is written, also in SARIF.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) level: Level,
    /// What it is about, for a list of rules.
    pub(super) about: &'static str,
    /// What is to be known of every such finding.
    pub(super) note: Option<&'static str>,
}

const fn rule(id: &'static str, level: Level, about: &'static str) -> Rule {
    Rule { id, level, about, note: None }
}

/// A document is no YAML.
pub(super) const UNPARSABLE: Rule =
    rule("Unparsable", Level::Error, "A document is not valid YAML; nothing of it was judged.");
/// An address range that sees nodes instead of clients.
pub(super) const SNAT_HIDES_CLIENT: Rule = rule(
    "SNATHidesClient",
    Level::Warning,
    "An address range admits clients of a NodePort or LoadBalancer Service, where the pod sees a node's address instead of the client's.",
);
const FOREIGN_KIND: Rule = rule(
    "ForeignKind",
    Level::Note,
    "A kind that is neither Kubernetes' nor the mesh's; it was passed over.",
);

/// Every rule, in the order of documentation.
pub(super) const RULES: [Rule; 19] = [
    UNPARSABLE,
    rule(
        "NotAnObject",
        Level::Error,
        "A document is no object with apiVersion, kind and a valid metadata.name.",
    ),
    rule("Invalid", Level::Error, "A field's value is not valid; what it is part of fails closed."),
    rule("UnknownField", Level::Error, "A field that does not exist; what it is part of fails closed."),
    rule("FieldNotBuilt", Level::Error, "A field that is designed and not built yet; its rule fails closed."),
    rule("UnknownVersion", Level::Error, "An apiVersion of the mesh's group that is not served."),
    rule("UnknownKind", Level::Error, "A kind that the mesh's group, or the core group, does not have."),
    rule(
        "KindNotBuilt",
        Level::Error,
        "A kind that is designed and not built yet; the object has no effect.",
    ),
    rule(
        "KindNotRead",
        Level::Warning,
        "A kind that the mesh does not read, though it could be meant to have an effect on it.",
    ),
    rule("SameNameTwice", Level::Error, "Two objects of one kind and name."),
    Rule {
        id: "UnresolvedReference",
        level: Level::Warning,
        about: "A name that leads nowhere among the given files; it matches nothing where the cluster does not have it either.",
        note: Some("looked for in the given files only"),
    },
    Rule {
        id: "NoMatchingParent",
        level: Level::Warning,
        about: "A route's parent that is no port of a Service among the given files; the route has no effect where the cluster does not have it either.",
        note: Some("looked for in the given files only"),
    },
    rule("IncompatibleFilters", Level::Error, "Filters of a route that cannot be in one place together."),
    rule(
        "Conflicted",
        Level::Warning,
        "Policies of equal priority that decide the opposite, or routes of several kinds for one port.",
    ),
    rule("Shadowed", Level::Warning, "A rule that never decides, because another does before."),
    rule(
        "UDPUnproven",
        Level::Warning,
        "A rule that asks for proof on a UDP port, where only senders on the same node can give it.",
    ),
    rule("NotEnrolled", Level::Warning, "A pod that asks to be in the mesh and cannot be."),
    SNAT_HIDES_CLIENT,
    FOREIGN_KIND,
];

/// Whether a condition of this type is bad news when it holds.
pub(super) fn is_bad_when_true(condition: &str) -> bool {
    [CONFLICTED, SHADOWED, UDP_UNPROVEN].contains(&condition)
}

/// What a condition says, one thing at a time: of names that lead nowhere each begins with the rule that it is in.
pub(super) fn parts<'a>(condition: &str, message: &'a str) -> Vec<&'a str> {
    let mut rest = message;
    let mut parts = Vec::new();
    while condition == RESOLVED_REFS
        && let Some(end) = rest.find("; rule `")
    {
        parts.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    parts.push(rest);
    parts
}

/// The rule of a condition that is bad news; nothing where it is none of a manifest.
pub(super) fn rule_of(condition: &str, reason: &str, object: &ObjectRef) -> Option<&'static Rule> {
    let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
    let id = match condition {
        // One of the core group that there is not is misspelt.
        ACCEPTED if reason == "UnknownKind" && !["", GROUP].contains(&group) => FOREIGN_KIND.id,
        // As routes' status has to call it.
        ACCEPTED if reason == "UnsupportedValue" => "Invalid",
        ACCEPTED | UNIQUE => reason,
        RESOLVED_REFS => "UnresolvedReference",
        CONFLICTED | SHADOWED | UDP_UNPROVEN => condition,
        ENROLLED => "NotEnrolled",
        _ => return None,
    };
    RULES_IN_FORCE.iter().find(|rule| rule.id == id)
}

static RULES_IN_FORCE: [Rule; 19] = RULES;
