//! What is installed at a real API server: it takes every object with every choice of values, and holds tenants to what
//! the roles and the admission policies promise.

use std::fs;

use mesh_tests::cluster::{
    Kubectl,
    trial::{TIMEOUT, until, workspace},
};

use crate::here::{Here, choices, rendered};

/// Where nothing else is.
const BANK: &str = "install-bank";

/// Documents of which the kind is one of these, or of the others.
fn of_kinds(manifest: &str, kinds: &[&str], others: bool) -> String {
    let is_of = |document: &&str| {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
        kind.is_some_and(|kind| kinds.contains(&kind) != others)
    };
    let documents = manifest.split("---\n").filter(is_of);
    documents.fold(String::new(), |text, document| text + "---\n" + document)
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
        until("it to be taken", || self.create(manifest).map(drop));
    }

    /// It is not, in the end, and it is said why.
    fn may_not(&self, manifest: &str, why: &str) {
        until("it to be refused", || match self.create(manifest) {
            Err(said) if said.contains(why) => Ok(()),
            Err(said) => Err(format!("refused, but for another reason: {said}")),
            Ok(_) => Err(format!("it is taken: {manifest}")),
        });
    }
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: p, namespace: {BANK}}}\nspec: {spec}\n"
    )
}

fn mesh_config(spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {{name: default}}\nspec: {spec}\n"
    )
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn an_api_server_takes_every_object_with_every_choice_of_values() {
    let here = Here::any().without_mesh();
    // In namespaces that are there: nothing of a dry run is.
    let own = "install-dry";
    let namespaces = [own, "elsewhere"].map(namespace).join("---\n");
    here.apply(&namespaces, &[]);
    let _gone = here.for_now(namespaces);
    for file in choices() {
        let path = file.to_str().expect("a plain path");
        here.apply(&rendered(&["--values", path, "--namespace", own]), &["--dry-run=server"]);
    }
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn tenants_are_held_to_what_the_roles_and_the_admission_policies_say() {
    let here = Here::any().without_mesh();
    let path = workspace().join("deploy/install.yaml");
    let manifest = fs::read_to_string(path).expect("cargo xtask crds writes it");
    let _gone = here.for_now(format!("{}---\n{manifest}", namespace(BANK)));
    // What runs needs images, and is tested elsewhere.
    here.apply(&of_kinds(&manifest, &["Namespace", "CustomResourceDefinition"], false), &[]);
    here.ask(&["wait", "--for=condition=Established", "crd", "--all", TIMEOUT]);
    here.apply(&of_kinds(&manifest, &["DaemonSet", "Deployment"], true), &[]);

    here.apply(&namespace(BANK), &[]);
    let grant = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n";
    let role = |name: &str, role: &str| {
        format!(
            "{grant}metadata: {{name: {name}, namespace: {BANK}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, \
             kind: ClusterRole, name: {role}}}\nsubjects: [{{kind: User, name: {name}}}]\n"
        )
    };
    here.apply(&role("tenant", "edit"), &[]);
    here.apply(&role("reader", "view"), &[]);
    let kubectl = &here.kubectl;
    let (administrator, tenant) = (User { kubectl, name: None }, User { kubectl, name: Some("tenant") });
    let (reader, stranger) =
        (User { kubectl, name: Some("reader") }, User { kubectl, name: Some("stranger") });
    let enforced = policy("{selector: {}, ingress: []}");
    let off = policy("{selector: {}, mode: \"Off\", ingress: []}");
    let plaintext = policy("{selector: {}, egress: [{name: out, mtls: \"Off\"}]}");

    tenant.may(&enforced);
    tenant.may(&policy("{selector: {}, mode: Audit, ingress: []}"));
    reader.may_not(&enforced, "forbidden");
    stranger.may_not(&enforced, "forbidden");
    until("a reader to read", || {
        let list = ["get", "accesspolicies", "--namespace", BANK, "--as=reader"];
        kubectl.run(&list).map(drop).map_err(|error| error.to_string())
    });
    tenant.may_not(&mesh_config("{}"), "forbidden");

    tenant.may_not(&off, "spec.mode: Off needs the right to update meshconfigs.mesh.internal");
    administrator.may(&off);

    // Without a floor, with one for another namespace, with one for this, with one for all.
    let floor = |spec: &str| {
        // The kind is served a moment after it is Established.
        until("MeshConfig to be taken", || {
            let arguments = ["apply", "--server-side", "--validate=strict", "--filename=-"];
            let applied = here.kubectl.run_with(&arguments, &mesh_config(spec));
            applied.map(drop).map_err(|error| error.to_string())
        });
    };
    tenant.may(&plaintext);
    floor("{namespaces: [{names: [install-shop], mtls: Required}]}");
    tenant.may(&plaintext);
    floor(&format!("{{namespaces: [{{names: [{BANK}], mtls: Required}}]}}"));
    tenant.may_not(&plaintext, &format!("is below what MeshConfig/default asks for in namespace {BANK}"));
    administrator.may(&plaintext);
    floor("{namespaces: [], defaults: {mtls: Preferred}}");
    tenant.may_not(&plaintext, "is below what MeshConfig/default asks for");
    tenant.may(&enforced);
}
