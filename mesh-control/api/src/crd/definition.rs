//! From generated to served: what holds for every definition, and what for policies of one scope only.
//!
//! - What the API server would drop in silence is kept, so that the controller sees it and fails closed (SEMANTICS 5.3):
//!   an unknown field, and a field without a value. Without its `from`, misspelt or empty, a rule would allow anyone.
//! - Only the spec's own fields have defaults: the API server gives a default to a field without a value.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    ValidationRule,
};

/// The definition as it is served.
pub(super) fn served(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let namespaced = definition.spec.scope == "Namespaced";
    for version in &mut definition.spec.versions {
        let root = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let Some(root) = root else { continue };
        tidy(root);
        root.x_kubernetes_preserve_unknown_fields = Some(true);
        if let Some(spec) = field(root, "spec") {
            for field in spec.properties.iter_mut().flat_map(BTreeMap::values_mut) {
                // The spec's own defaults stay.
                let own = field.default.take();
                forget_defaults(field);
                field.default = own;
            }
            for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
                let Some(rule) = field(spec, direction).and_then(items) else { continue };
                if namespaced {
                    namespaced_rule(rule);
                } else if let Some(entry) = field(rule, peers).and_then(items) {
                    cluster_entry(entry);
                }
            }
            keep_what_was_written(spec);
        }
    }
    definition
}

/// Pass is for ClusterAccessPolicies.
fn namespaced_rule(rule: &mut JSONSchemaProps) {
    if let Some(action) = field(rule, "action") {
        action.enum_ = Some(["Allow", "Deny"].map(|name| JSON(name.into())).to_vec());
    }
}

/// What has no namespace of its own must say which it means.
fn cluster_entry(entry: &mut JSONSchemaProps) {
    entry.x_kubernetes_validations.get_or_insert_default().push(ValidationRule {
        rule: "!has(self.serviceAccounts) || has(self.namespaces) || has(self.namespaceSelector)".to_owned(),
        message: Some(
            "serviceAccounts: a ClusterAccessPolicy has no namespace of its own; add namespaces, or namespaceSelector: {} for every one"
                .to_owned(),
        ),
        field_path: Some(".serviceAccounts".to_owned()),
        ..ValidationRule::default()
    });
    if let Some(service) = field(entry, "services").and_then(items) {
        service.required.get_or_insert_default().push("namespace".to_owned());
    }
}

fn field<'a>(schema: &'a mut JSONSchemaProps, name: &str) -> Option<&'a mut JSONSchemaProps> {
    schema.properties.as_mut()?.get_mut(name)
}

fn items(schema: &mut JSONSchemaProps) -> Option<&mut JSONSchemaProps> {
    match schema.items.as_mut()? {
        JSONSchemaPropsOrArray::Schema(items) => Some(items),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// The schemas directly below one.
fn below(schema: &mut JSONSchemaProps) -> Vec<&mut JSONSchemaProps> {
    let mut below = Vec::new();
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        below.push(items.as_mut());
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        below.push(values.as_mut());
    }
    below.extend(schema.properties.iter_mut().flat_map(BTreeMap::values_mut));
    below
}

/// Takes out what means nothing to the API server.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_ref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    below(schema).into_iter().for_each(tidy);
}

fn keep_what_was_written(schema: &mut JSONSchemaProps) {
    if let Some(fields) = &mut schema.properties {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
        let required = schema.required.as_deref().unwrap_or_default();
        for (_, field) in fields.iter_mut().filter(|(name, _)| !required.contains(name)) {
            field.nullable = field.default.is_none().then_some(true);
        }
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        values.nullable = Some(true);
    }
    below(schema).into_iter().for_each(keep_what_was_written);
}

fn forget_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    below(schema).into_iter().for_each(forget_defaults);
}
