//! Admission policies that refuse fields which a definition does not know, whoever writes them.
//!
//! The definitions keep unknown fields, because what the API server drops in silence could be what made a rule narrow;
//! CEL within a definition does not see them. In an admission policy it does: the object is a plain map there. Where these
//! are left out, or came after the object, the controller fails it closed all the same.

use mesh_api::crd::definitions;
use serde_json::{Value, json};

use super::{DefinitionError, definitions::WRITTEN, yaml};

/// Where the chart has them.
pub(super) const PATH: &str = "templates/admission-fields.yaml";

/// The template: for every kind a policy and its binding.
///
/// # Errors
/// When a definition cannot be read.
pub(super) fn template() -> Result<String, DefinitionError> {
    let mut text = format!("{{{{- if .Values.admission.enabled }}}}\n{WRITTEN}");
    for (index, definition) in definitions().iter().enumerate() {
        let plural = &definition.spec.names.plural;
        let schema = serde_json::to_value(&definition.spec.versions[0].schema)
            .map_err(|cause| DefinitionError::Json { plural: plural.clone(), cause })?;
        let name = format!("mesh-fields-{plural}");
        let policy = json!({"spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [definition.spec.group],
                "apiVersions": [definition.spec.versions[0].name],
                "operations": ["CREATE", "UPDATE"],
                "resources": [plural],
            }]},
            "validations": validations(&schema["openAPIV3Schema"]),
        }});
        let binding = json!({"spec": {"policyName": name, "validationActions": ["Deny"]}});
        for (kind, spec) in
            [("ValidatingAdmissionPolicy", policy), ("ValidatingAdmissionPolicyBinding", binding)]
        {
            if index > 0 || kind != "ValidatingAdmissionPolicy" {
                text.push_str("---\n");
            }
            text.push_str(&format!(
                "apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  labels:\n    {{{{- include \"mesh.labels\" . | nindent 4 }}}}\n{}\n",
                yaml::write(&spec)
            ));
        }
    }
    Ok(text + "{{- end }}\n")
}

/// One for every map that the schema describes.
fn validations(root: &Value) -> Vec<Value> {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let mut all = vec![refused("the object", &unknown("object", &known), &known)];
    let spec = Map { path: "spec".to_owned(), value: "object.spec".to_owned(), depth: 0 };
    collect(&root["properties"]["spec"], &spec, &|unknown| unknown, &mut all);
    all
}

/// A map in an object.
struct Map {
    /// How people write where it is.
    path: String,
    /// How CEL reaches it.
    value: String,
    /// In so many lists.
    depth: usize,
}

/// Adds the validation of a map and of those below; `around` makes of what is unknown in it, as text, that of the object.
fn collect(schema: &Value, map: &Map, around: &dyn Fn(String) -> String, all: &mut Vec<Value>) {
    let Some(fields) = schema["properties"].as_object() else { return };
    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
    all.push(refused(&map.path, &around(unknown(&map.value, &known)), &known));
    let Map { path, value, depth } = map;
    for (name, field) in fields {
        let at = format!("{value}.{name}");
        let guarded = |inner: String| format!("(has({at}) && {at} != null ? {inner} : '')");
        if field["properties"].is_object() {
            let below = Map { path: format!("{path}.{name}"), value: at.clone(), depth: *depth };
            collect(field, &below, &|unknown| around(guarded(unknown)), all);
        } else if field["items"]["properties"].is_object() {
            let variable = format!("in{depth}");
            let each = |unknown: String| {
                around(guarded(format!("{at}.map({variable}, {unknown}).filter(one, one != '').join(', ')")))
            };
            let below = Map { path: format!("{path}.{name}[]"), value: variable.clone(), depth: depth + 1 };
            collect(&field["items"], &below, &each, all);
        }
    }
}

/// CEL for the names of a map's unknown fields, as one text.
fn unknown(value: &str, known: &[&str]) -> String {
    format!("{value}.filter(key, !(key in ['{}'])).join(', ')", known.join("', '"))
}

fn refused(path: &str, unknown: &str, known: &[&str]) -> Value {
    let valid = known.join(", ");
    json!({
        "expression": format!("{unknown} == ''"),
        "message": format!("{path}: unknown field; valid are {valid}"),
        "messageExpression": format!("'{path}: unknown field ' + {unknown} + '; valid are {valid}'"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{template, validations};

    #[test]
    fn every_map_of_every_kind_is_looked_at() {
        let text = template().unwrap();
        for path in [
            "the object",
            "spec.subject.namespaces.matchExpressions[]",
            "spec.ingress[].from[].pods.matchExpressions[]",
            "spec.egress[].to[].services[]",
            "spec.ca.secretRef",
        ] {
            assert!(text.contains(&format!("message: \"{path}: unknown field; valid are ")), "{path}");
        }
        assert_eq!(text.matches("kind: ValidatingAdmissionPolicyBinding\n").count(), 3);
    }

    #[test]
    fn what_is_unknown_is_gathered_from_every_list() {
        let map = |fields| json!({"properties": fields});
        let spec = map(json!({"rules": {"items": map(json!({"name": {}}))}}));
        let all = validations(&json!({"properties": {"spec": spec}}));
        assert_eq!(all.len(), 3);
        assert_eq!(
            all[2]["expression"],
            "(has(object.spec.rules) && object.spec.rules != null ? object.spec.rules.map(in0, \
             in0.filter(key, !(key in ['name'])).join(', ')).filter(one, one != '').join(', ') : '') == ''"
        );
    }
}
