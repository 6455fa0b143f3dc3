//! The manifests of `deploy/` at a real API server: it takes every object as it is written, and holds tenants to what
//! the roles and the admission policies promise.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use mesh_tests::cluster::Kubectl;

use crate::scene::Cluster;

/// How long the API server may take to heed a new role, policy or MeshConfig.
const PATIENCE: Duration = Duration::from_secs(30);

/// Documents of `deploy/install.yaml` of which the kind is one of these, or of the others.
fn installed(kinds: &[&str], others: bool) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/install.yaml");
    let text = fs::read_to_string(&path).expect("cargo xtask crds writes it");
    let is_of = |document: &&str| {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
        kind.is_some_and(|kind| kinds.contains(&kind) != others)
    };
    text.split("\n---\n").filter(is_of).collect::<Vec<_>>().join("\n---\n")
}

/// Applies as an upgrade would: unknown and doubled fields are errors.
fn apply(kubectl: &Kubectl, manifest: &str, more: &[&str]) {
    let arguments = [&["apply", "--server-side", "--validate=strict", "--filename=-"], more].concat();
    kubectl.run_with(&arguments, manifest).unwrap_or_else(|error| panic!("{error}"));
}

/// Somebody who asks the API server whether an object would be taken.
struct User<'a> {
    kubectl: &'a Kubectl,
    name: Option<&'a str>,
}

impl User<'_> {
    fn create(&self, manifest: &str) -> Result<String, String> {
        let name = self.name.map(|name| format!("--as={name}"));
        let mut arguments = vec!["create", "--dry-run=server", "--filename=-"];
        arguments.extend(name.as_deref());
        self.kubectl.run_with(&arguments, manifest).map_err(|error| error.to_string())
    }

    /// It is, in the end.
    fn may(&self, manifest: &str) {
        until(|| self.create(manifest).map(drop));
    }

    /// It is not, in the end, and it is said why.
    fn may_not(&self, manifest: &str, why: &str) {
        until(|| match self.create(manifest) {
            Err(said) if said.contains(why) => Ok(()),
            Err(said) => Err(format!("refused, but for another reason: {said}")),
            Ok(_) => Err(format!("it is taken: {manifest}")),
        });
    }
}

fn until(attempt: impl Fn() -> Result<(), String>) {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return,
            Err(said) if start.elapsed() > PATIENCE => panic!("{said}"),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: p, namespace: bank}}\nspec: {spec}\n"
    )
}

fn mesh_config(spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {{name: default}}\nspec: {spec}\n"
    )
}

#[test]
#[ignore = "brings a Kubernetes up: cargo xtask cluster check"]
fn an_api_server_takes_what_is_installed_and_holds_tenants_to_it() {
    let cluster = Cluster::up(&["--nodes", "1"]);
    let kubectl = &cluster.kubectl;
    apply(kubectl, &installed(&["Namespace", "CustomResourceDefinition"], false), &[]);
    cluster.ask(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    apply(kubectl, &installed(&[], true), &["--dry-run=server"]);
    // What runs needs images, and is tested elsewhere.
    apply(kubectl, &installed(&["DaemonSet", "Deployment"], true), &[]);

    cluster.ask(&["create", "namespace", "bank"]);
    cluster.ask(&[
        "create",
        "rolebinding",
        "tenant",
        "--namespace=bank",
        "--clusterrole=edit",
        "--user=tenant",
    ]);
    let (administrator, tenant) = (User { kubectl, name: None }, User { kubectl, name: Some("tenant") });
    let stranger = User { kubectl, name: Some("stranger") };
    let enforced = policy("{selector: {}, ingress: []}");
    let off = policy("{selector: {}, mode: \"Off\", ingress: []}");
    let plaintext = policy("{selector: {}, egress: [{name: out, mtls: \"Off\"}]}");

    tenant.may(&enforced);
    tenant.may(&policy("{selector: {}, mode: Audit, ingress: []}"));
    stranger.may_not(&enforced, "forbidden");
    tenant.may_not(&mesh_config("{}"), "forbidden");

    tenant.may_not(&off, "spec.mode: Off needs the right to update meshconfigs.mesh.internal");
    administrator.may(&off);

    // Without a floor, with one for another namespace, with one for this, with one for all.
    tenant.may(&plaintext);
    apply(kubectl, &mesh_config("{namespaces: [{names: [shop], mtls: Required}]}"), &[]);
    tenant.may(&plaintext);
    apply(kubectl, &mesh_config("{namespaces: [{names: [bank], mtls: Required}]}"), &[]);
    tenant.may_not(&plaintext, "is below what MeshConfig/default asks for in namespace bank");
    administrator.may(&plaintext);
    apply(kubectl, &mesh_config("{namespaces: [], defaults: {mtls: Preferred}}"), &[]);
    tenant.may_not(&plaintext, "is below what MeshConfig/default asks for");
    tenant.may(&enforced);
}
