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
            "http": [{"methods": ["GET"]}]
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
