//! What the `MeshConfig` says, and what an invalid one does.

use super::{Mesh, pod};

fn mesh(spec: &str) -> Mesh {
    Mesh::of(&format!(
        "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {{name: default, generation: 7}}
spec: {spec}
{}",
        pod("a", "n1", "10.0.0.1", "mesh.internal/mode: enabled")
    ))
}

/// What the authority is asked for.
fn authority(spec: &str) -> crate::build::CaSettings {
    let text = format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {{name: default}}\nspec: {spec}\n"
    );
    let mut builder = crate::build::Builder::default();
    builder.update(crate::source::of_yaml(&text).objects);
    builder.authority().settings
}

/// (deny ingress, deny egress, require mTLS, encrypt) of the pod in namespace shop.
fn effect(mesh: &Mesh) -> [bool; 4] {
    let policy = mesh.policy("n1", "shop/a/u-a").unwrap();
    let (ingress, egress) = (policy.ingress.unwrap(), policy.egress.unwrap());
    let workload = mesh.workload("n1", "shop/a/u-a").unwrap();
    [ingress.default_deny, egress.default_deny, ingress.require_mtls, workload.encrypt_always]
}

#[test]
fn without_one_everything_is_open() {
    let mesh = Mesh::of(&pod("a", "n1", "10.0.0.1", ""));
    assert_eq!(effect(&mesh), [false; 4]);
    let config = mesh.config("n1");
    assert_eq!((config.trust_domain.as_str(), config.mesh_config_generation), ("cluster.local", 0));
}

#[test]
fn namespaces_override_defaults_and_the_strictest_entry_counts() {
    let strict = "{namespaces: [{names: [shop], mtls: Required}, {names: [shop, x], access: Deny, mtls: Preferred, encryption: Always}]}";
    assert_eq!(effect(&mesh(strict)), [true, false, true, true]);
    assert_eq!(
        effect(&mesh(
            "{defaults: {access: Deny, egress: {access: Deny}}, namespaces: [{names: [shop], access: Allow}]}"
        )),
        [false, true, false, false]
    );
    assert_eq!(effect(&mesh("{namespaces: [{names: [other], access: Deny}]}")), [false; 4]);
    assert_eq!(mesh("{}").config("n1").mesh_config_generation, 7);
}

#[test]
fn an_invalid_value_takes_its_closed_meaning_and_the_rest_holds() {
    let mesh = mesh("{trustDomain: example.org, defaults: {access: Denied, mtls: Preferred}}");
    assert_eq!(effect(&mesh), [true, false, false, false]);
    assert_eq!(mesh.config("n1").trust_domain, "example.org");
    let condition = mesh.condition("MeshConfig/default", "Accepted").unwrap();
    assert!(
        condition.message.contains("spec.defaults.access") && condition.message.contains("Denied"),
        "{condition:?}"
    );
    assert_eq!(condition.observed_generation, 7);
}

#[test]
fn an_unknown_field_closes_what_its_map_leaves_out() {
    let mesh = mesh("{defaults: {acess: Allow, mtls: Preferred}}");
    assert_eq!(effect(&mesh), [true, true, false, true]);
    let condition = mesh.condition("MeshConfig/default", "Accepted").unwrap();
    assert_eq!(condition.reason, "UnknownField");
    assert!(
        condition.message.contains("spec.defaults.acess") && condition.message.contains("access, mtls"),
        "{condition:?}"
    );
}

#[test]
fn the_authority_and_the_tunnel_are_read() {
    let mesh = mesh(
        "{tunnel: Auto, ca: {rootTTL: 100h, issuerTTL: 10h, workloadTTL: 1h30m, secretRef: {name: mesh-ca, namespace: mesh-system}}, enrolment: {unknown: Closed}, telemetry: {accessLog: {format: Text, level: All}}}",
    );
    let condition = mesh.condition("MeshConfig/default", "Accepted").unwrap();
    assert_eq!(condition.reason, "Accepted", "{condition:?}");
    let config = mesh.config("n1");
    assert!(config.unknown_closed);
    assert_eq!(config.access_log.unwrap(), mesh_api::resources::AccessLog { format: 1, level: 1 });
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    let asked = authority(
        "{tunnel: HBONE, ca: {rootTTL: 100h, issuerTTL: 50h, secretRef: {name: mesh-ca, namespace: mesh-system}}}",
    );
    assert_eq!((asked.root_ttl, asked.issuer_ttl, asked.workload_ttl), (hours(100), hours(50), hours(24)));
    assert_eq!(asked.secret, Some(crate::objects::ObjectName::new("mesh-system", "mesh-ca")));
}

#[test]
fn an_authority_that_cannot_be_is_refused_by_field_and_the_default_holds() {
    for (ca, said) in [
        ("{workloadTTL: 24}", "spec.ca.workloadTTL: invalid type"),
        ("{workloadTTL: 1d}", "spec.ca.workloadTTL: `1d` is not a duration; write a number with h, m or s"),
        (
            "{workloadTTL: 5s}",
            "spec.ca.workloadTTL: `5s` is not between 30s and 720h; 24h holds until it is corrected",
        ),
        ("{rootTTL: 9999999h}", "spec.ca.rootTTL: `9999999h` is not between"),
        ("{rootTTL: 100h}", "spec.ca.rootTTL: 100h is less than twice issuerTTL (2160h)"),
        ("{issuerTTL: 1h}", "spec.ca.issuerTTL: 1h is less than twice workloadTTL (24h)"),
        ("{secretRef: {name: x}}", "spec.ca.secretRef: missing field `namespace`"),
        ("{secretRef: {name: '', namespace: x}}", "spec.ca.secretRef: needs the name and the namespace"),
        ("{ttl: 1h}", "spec.ca.ttl: unknown field; valid are rootTTL, issuerTTL, workloadTTL, secretRef"),
    ] {
        let spec = format!("{{ca: {ca}}}");
        let mesh = mesh(&spec);
        let condition = mesh.condition("MeshConfig/default", "Accepted").unwrap();
        assert!(condition.message.contains(said), "{ca}: {condition:?}");
        let asked = authority(&spec);
        let defaults = crate::build::CaSettings { secret: asked.secret.clone(), ..Default::default() };
        assert_eq!(asked, defaults, "{ca}");
        // A misspelt Secret must not make the controller fall back to an authority of its own.
        assert_eq!(asked.secret.is_some(), ca.contains("secretRef"), "{ca}");
    }
    let condition = mesh("{tunnel: WireGuard}");
    let condition = condition.condition("MeshConfig/default", "Accepted").unwrap();
    assert!(condition.message.contains("spec.tunnel: unknown variant `WireGuard`"), "{condition:?}");
}

#[test]
fn the_selector_enrols_where_no_label_decides() {
    let enrolled = |selector: &str, labels: &str| {
        let config = format!(
            "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {{name: default}}
spec: {{enrolment: {{selector: {selector}}}}}
"
        );
        let mesh = Mesh::of(&(config + &pod("a", "n1", "10.0.0.1", labels)));
        mesh.workload("n1", "shop/a/u-a").unwrap().enrolled
    };
    assert!(enrolled("{matchLabels: {app: web}}", "app: web"));
    assert!(!enrolled("{matchLabels: {app: web}}", "app: web, mesh.internal/mode: disabled"));
    assert!(enrolled("{matchLabels: {kubernetes.io/metadata.name: shop}}", ""));
    assert!(
        !enrolled("{matchExpressions: [{key: app, operator: In}]}", "app: web"),
        "an invalid selector enrols nobody"
    );
}

#[test]
fn only_the_one_named_default_counts() {
    let mesh = Mesh::of(
        "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: other}
spec: {defaults: {access: Deny}}
",
    );
    assert!(mesh.condition("MeshConfig/other", "Accepted").unwrap().message.contains("named default"));
}
