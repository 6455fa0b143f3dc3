//! The YAML of the design page is accepted as it stands, and what it does not show is not.

use super::{AccessPolicySpec, ClusterAccessPolicySpec, MeshConfigSpec, definitions};

fn error<T: serde::de::DeserializeOwned + std::fmt::Debug>(json: serde_json::Value) -> String {
    serde_json::from_value::<T>(json).unwrap_err().to_string()
}

#[test]
fn every_definition_has_a_structural_schema_in_our_category() {
    for crd in definitions() {
        assert_eq!(crd.spec.group, crate::labels::GROUP);
        assert_eq!(crd.spec.names.categories.as_deref(), Some(&["meshinternal".to_owned()][..]));
        assert!(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.is_some());
    }
}

/// What `kubectl get` and `kubectl wait` need, and server-side apply: one condition of each type.
#[test]
fn every_definition_has_a_status_of_its_own() {
    for crd in definitions() {
        let version = &crd.spec.versions[0];
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        assert_eq!(crd.spec.names.short_names.as_ref().map(Vec::len), Some(1));
        let columns = version.additional_printer_columns.iter().flatten();
        let names: Vec<_> = columns.map(|column| column.name.as_str()).collect();
        assert!(["Accepted", "Programmed", "Age"].iter().all(|name| names.contains(name)), "{names:?}");
        let schema = serde_json::to_value(version.schema.as_ref().unwrap()).unwrap();
        let conditions = &schema["openAPIV3Schema"]["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]));
    }
}

#[test]
fn the_forms_of_the_design_are_accepted() {
    serde_json::from_value::<AccessPolicySpec>(serde_json::json!({
        "selector": {"matchLabels": {"app": "vault"}},
        "mode": "Enforce",
        "ingress": [{
            "name": "tellers", "action": "Allow", "mtls": "Required",
            "from": [
                {"serviceAccounts": ["teller"], "namespaces": ["bank"]},
                {"spiffe": ["spiffe://cluster.local/ns/audit/sa/*"]},
                {"pods": {"matchLabels": {"role": "ops"}}, "namespaces": ["ops"]},
                {"cidrs": ["10.9.0.0/16"]}
            ],
            "ports": [{"port": "http"}, {"port": 8443, "protocol": "TCP"}, {"port": 9000, "endPort": 9010}],
            "http": [{"methods": ["GET"], "paths": [{"prefix": "/api"}, {"exact": "/healthz"}, {"regex": "/v[0-9]+/.*"}],
                "headers": [{"name": "x-tier", "exact": "gold"}], "hosts": ["vault.bank"]}],
            "grpc": [{"service": "bank.Vault", "method": "Open"}]
        }],
        "egress": [{"to": [{"services": [{"name": "ledger", "namespace": "bank"}]}], "ports": [{"port": 443}]}]
    }))
    .unwrap();
    serde_json::from_value::<ClusterAccessPolicySpec>(serde_json::json!({
        "tier": "Admin", "priority": 10,
        "subject": {"namespaces": {"matchLabels": {"env": "prod"}}, "pods": {}},
        "ingress": [{"name": "dev", "action": "Deny",
            "from": [{"namespaceSelector": {"matchLabels": {"env": "dev"}}}]}]
    }))
    .unwrap();
    serde_json::from_value::<MeshConfigSpec>(serde_json::json!({
        "trustDomain": "cluster.local",
        "defaults": {"access": "Allow", "egress": {"access": "Allow", "allowDNS": true},
            "mtls": "Preferred", "encryption": "Auto"},
        "namespaces": [{"names": ["bank"], "mtls": "Required", "access": "Deny", "encryption": "Always"}],
        "enrolment": {"unknown": "Open", "selector": {"matchLabels": {"mesh.internal/mode": "enabled"}}},
        "tunnel": "Auto",
        "telemetry": {"accessLog": {"format": "JSON", "level": "Denied"}}
    }))
    .unwrap();
}

#[test]
fn errors_name_the_field_and_the_valid_names() {
    let unknown = error::<AccessPolicySpec>(serde_json::json!({"selektor": {}}));
    assert!(unknown.contains("`selektor`") && unknown.contains("`selector`"), "{unknown}");
    let port = error::<AccessPolicySpec>(serde_json::json!({"ingress": [{"ports": [{"port": 0}]}]}));
    assert!(port.contains("1 to 65535"), "{port}");
    let typo = error::<AccessPolicySpec>(serde_json::json!({"selector": {"matchLabel": {}}}));
    assert!(typo.contains("`matchLabel`"), "{typo}");
}

/// Calls back with every schema of a spec and where it is.
fn each_schema(schema: &serde_json::Value, path: &str, see: &mut impl FnMut(&str, &serde_json::Value)) {
    see(path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        each_schema(field, &format!("{path}.{name}"), see);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            each_schema(&schema[below], &format!("{path}.{below}"), see);
        }
    }
}

fn each_schema_of_all(mut see: impl FnMut(&str, &serde_json::Value)) {
    for crd in definitions() {
        let schema = serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap()).unwrap();
        let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
        each_schema(spec, &format!("{} spec", crd.spec.names.kind), &mut see);
    }
}

/// The API server reckons what rules cost by these bounds, and refuses a definition that may cost too much.
#[test]
fn everything_that_repeats_has_a_bound() {
    each_schema_of_all(|path, schema| {
        let has = |keyword: &str| !schema[keyword].is_null();
        let is_bounded = match schema["type"].as_str() {
            Some("array") => has("maxItems"),
            Some("string") => has("maxLength") || has("enum"),
            Some("integer") => has("maximum"),
            Some("object") if has("additionalProperties") => has("maxProperties"),
            _ => true,
        };
        assert!(is_bounded, "{path}: {schema}");
    });
}

/// What the API server drops in silence could be what made a rule narrow.
#[test]
fn nothing_that_was_written_is_dropped() {
    each_schema_of_all(|path, schema| {
        let Some(fields) = schema["properties"].as_object() else { return };
        assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "{path}");
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in fields.iter().filter(|(name, _)| !required.contains(&name.as_str().into())) {
            // With a default, no value means that one: only what is the spec's own has one.
            let is_own = path.ends_with(" spec");
            assert!(field["nullable"] == true || (is_own && !field["default"].is_null()), "{path}.{name}");
        }
    });
}

#[test]
fn kinds_of_one_scope_say_what_the_other_must_not() {
    let schemas: Vec<_> = definitions()
        .iter()
        .map(|crd| serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap()).unwrap())
        .collect();
    let rule = |index: usize, direction: &str| {
        schemas[index]["openAPIV3Schema"]["properties"]["spec"]["properties"][direction]["items"]["properties"].clone()
    };
    assert_eq!(rule(0, "egress")["action"]["enum"], serde_json::json!(["Allow", "Deny"]));
    assert_eq!(rule(1, "ingress")["action"]["enum"], serde_json::json!(["Allow", "Deny", "Pass"]));
    let needed =
        |index| rule(index, "egress")["to"]["items"]["properties"]["services"]["items"]["required"].clone();
    assert_eq!(needed(0), serde_json::json!(["name"]));
    assert_eq!(needed(1), serde_json::json!(["name", "namespace"]));
}
