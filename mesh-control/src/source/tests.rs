//! Real files, real inotify.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mesh_api::condition::Condition;
use tempfile::TempDir;

use super::{Directory, Snapshot, Source as _, Watch};
use crate::objects::ObjectName;

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("source")).unwrap();
        fs::create_dir_all(directory.path().join("kubelet/pods")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("source").join(name)
    }

    /// As an editor or a kubelet does it: beside its place, and moved there.
    fn write(&self, name: &str, text: &str) {
        replace(&self.path(name), text);
    }

    fn report(&self, name: &str, text: &str) {
        replace(&self.directory.path().join("kubelet/pods").join(name), text);
    }

    fn directory(&self) -> Directory {
        Directory::new(self.path(""), self.directory.path().join("kubelet"))
    }
}

fn replace(path: &Path, text: &str) {
    let made = path.with_extension("tmp");
    fs::write(&made, text).unwrap();
    fs::rename(made, path).unwrap();
}

fn namespace(name: &str, label: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{l: '{label}'}}}}\n")
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )
}

fn namespaces(snapshot: &Snapshot) -> Vec<String> {
    snapshot.objects.namespaces.keys().map(|name| name.name.clone()).collect()
}

fn label(snapshot: &Snapshot, name: &str) -> String {
    let namespace = &snapshot.objects.namespaces[&ObjectName::cluster(name)];
    namespace.metadata.labels.as_ref().unwrap()["l"].clone()
}

fn problems<'a>(snapshot: &'a Snapshot, object: &str) -> &'a [Condition] {
    let found = snapshot.problems.iter().find(|(reference, _)| reference.to_string() == object);
    found.map(|(_, conditions)| conditions.as_slice()).unwrap_or_default()
}

fn load(directory: &mut Directory) -> Snapshot {
    directory.load().unwrap().expect("a change")
}

#[test]
fn files_lists_nested_directories_and_links_are_read() {
    let place = Place::new();
    place.write("a.yaml", &(namespace("a", "1") + &namespace("b", "1")));
    fs::create_dir_all(place.path("deep/er")).unwrap();
    place.write("deep/er/c.yml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: c}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: d}}\n");
    place.write("e.json", r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "e"}}"#);
    place.write(".hidden.yaml", &namespace("x", "1"));
    place.write("notes.txt", "not yaml: [");
    place.write("other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: y}\n");
    let far = tempfile::tempdir().unwrap();
    fs::write(far.path().join("f.yaml"), namespace("f", "1")).unwrap();
    symlink(far.path(), place.path("linked")).unwrap();
    symlink(place.path(""), place.path("deep/circle")).unwrap();
    let mut directory = place.directory();
    let snapshot = load(&mut directory);
    assert_eq!(namespaces(&snapshot), ["a", "b", "c", "d", "e", "f"]);
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
    assert!(directory.load().unwrap().is_none(), "nothing changed");
}

#[test]
fn an_unparsable_file_keeps_its_last_objects_and_stops_nothing_else() {
    let place = Place::new();
    place.write("a.yaml", &namespace("a", "1"));
    place.write("b.yaml", &(namespace("b", "1") + &namespace("b2", "1")));
    let mut directory = place.directory();
    load(&mut directory);
    place.write("a.yaml", &namespace("a", "2"));
    place.write("b.yaml", "kind: [");
    let snapshot = load(&mut directory);
    assert_eq!(namespaces(&snapshot), ["a", "b", "b2"]);
    assert_eq!(label(&snapshot, "a"), "2");
    let condition = &problems(&snapshot, "File/b.yaml")[0];
    assert_eq!(condition.reason, "Unparsable");
    assert!(
        condition.message.contains("document 1 (line 1)")
            && condition.message.contains("Namespace/b, Namespace/b2"),
        "{condition:?}"
    );

    // One bad document: the good ones are taken, what they do not define stays.
    place.write("b.yaml", &(namespace("b", "3") + "---\na: {\n" + &namespace("b3", "3")));
    let snapshot = load(&mut directory);
    assert_eq!(namespaces(&snapshot), ["a", "b", "b2", "b3"]);
    assert_eq!(label(&snapshot, "b"), "3");

    place.write("b.yaml", &namespace("b", "4"));
    let snapshot = load(&mut directory);
    assert_eq!(namespaces(&snapshot), ["a", "b"]);
    assert!(snapshot.problems.is_empty());
    fs::remove_file(place.path("a.yaml")).unwrap();
    assert_eq!(namespaces(&load(&mut directory)), ["b"]);
}

#[test]
fn what_cannot_be_taken_is_named() {
    let place = Place::new();
    place.write(
        "a.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nspec: {containers: 3}\n",
    );
    place.write("b.yaml", "apiVersion: v1\nkind: Servise\nmetadata: {name: s, namespace: shop}\n");
    place.write(
        "c.yaml",
        "apiVersion: mesh.internal/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: t, namespace: shop}\n",
    );
    place.write(
        "d.yaml",
        "apiVersion: mesh.internal/v2\nkind: AccessPolicy\nmetadata: {name: v, namespace: shop}\n",
    );
    place.write("e.yaml", "- 1\n- 2\n");
    place.write("f.yaml", "apiVersion: v1\nkind: Pod\n");
    place.write("g.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: ../../etc}\n");
    let snapshot = load(&mut place.directory());
    for (object, reason, part) in [
        ("Pod/shop/p", "Invalid", "spec.containers: invalid type: integer `3`"),
        ("Servise/shop/s", "UnknownKind", "`Servise`"),
        ("TrafficPolicy/shop/t", "KindNotBuilt", "TrafficPolicy is not built yet"),
        ("AccessPolicy/shop/v", "UnknownVersion", "`mesh.internal/v2`"),
        ("File/e.yaml", "NotAnObject", "not an object"),
        ("File/f.yaml", "NotAnObject", "metadata.name"),
        ("File/g.yaml", "NotAnObject", "metadata.name"),
    ] {
        let condition = &problems(&snapshot, object)[0];
        assert_eq!(condition.reason, reason, "{object}");
        assert!(condition.message.contains(part), "{condition:?}");
    }
}

#[test]
fn of_two_with_one_name_the_first_file_counts_and_both_are_named() {
    let place = Place::new();
    place.write("b.yaml", &namespace("x", "b"));
    place.write("a.yaml", &namespace("x", "a"));
    let mut directory = place.directory();
    let snapshot = load(&mut directory);
    assert_eq!(label(&snapshot, "x"), "a");
    let message = &problems(&snapshot, "Namespace/x")[0].message;
    assert!(message.contains("in a.yaml, b.yaml; the one in a.yaml counts"), "{message}");
    fs::remove_file(place.path("a.yaml")).unwrap();
    let snapshot = load(&mut directory);
    assert_eq!(label(&snapshot, "x"), "b");
    assert!(snapshot.problems.is_empty());
}

#[test]
fn generations_count_changes_of_the_spec() {
    let place = Place::new();
    let generation =
        |snapshot: &Snapshot| snapshot.objects.access_policies[&ObjectName::new("shop", "x")].generation;
    place.write("a.yaml", &policy("x", "{selector: {}}"));
    let mut directory = place.directory();
    assert_eq!(generation(&load(&mut directory)), 1);
    place.write("a.yaml", &policy("x", "{selector: {}, mode: Audit}"));
    assert_eq!(generation(&load(&mut directory)), 2);
    place.write("a.yaml", &(namespace("y", "1") + &policy("x", "{selector: {}, mode: Audit}")));
    assert_eq!(generation(&load(&mut directory)), 2);
    place.write("a.yaml", &policy("x", "{}").replace("namespace: shop", "namespace: shop, generation: 9"));
    assert_eq!(generation(&load(&mut directory)), 9);
}

#[test]
fn what_the_kubelet_reports_lies_over_the_manifest() {
    let place = Place::new();
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, uid: old, labels: {app: web}}\nspec: {containers: [{name: main}]}\nstatus: {podIP: 192.0.2.1}\n";
    place.write("p.yaml", manifest);
    let name = ObjectName::new("shop", "p");
    let mut directory = place.directory();
    let pod = load(&mut directory).objects.pods[&name].clone();
    assert!(pod.metadata.uid.is_none() && pod.status.is_none(), "another cluster's status is not ours");

    let report = |extra: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: shop, uid: new{extra}}}\nspec: {{nodeName: n1}}\nstatus: {{phase: Running, podIP: 10.0.0.1}}\n"
        )
    };
    place.report("shop.p.yaml", &report(""));
    let pod = load(&mut directory).objects.pods[&name].clone();
    assert_eq!(pod.metadata.uid.as_deref(), Some("new"));
    assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(pod.status.as_ref().unwrap().pod_ip.as_deref(), Some("10.0.0.1"));
    assert!(pod.metadata.deletion_timestamp.is_none());

    // The manifest goes: the pod is what it was until the kubelet part has ended it.
    fs::remove_file(place.path("p.yaml")).unwrap();
    let pod = load(&mut directory).objects.pods[&name].clone();
    assert!(pod.metadata.deletion_timestamp.is_some());
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["app"], "web");
    place.report("shop.p.yaml", &report(", deletionTimestamp: '2026-01-01T00:00:00Z'"));
    assert_eq!(load(&mut directory).objects.pods.len(), 1);
    fs::remove_file(place.directory.path().join("kubelet/pods/shop.p.yaml")).unwrap();
    assert!(load(&mut directory).objects.pods.is_empty());
}

#[test]
fn unchanged_objects_keep_their_pointer() {
    let place = Place::new();
    place.write("a.yaml", &namespace("a", "1"));
    let mut directory = place.directory();
    let before = load(&mut directory);
    place.write("a.yaml", &(namespace("a", "1") + &namespace("b", "1")));
    let after = load(&mut directory);
    let name = ObjectName::cluster("a");
    assert!(std::sync::Arc::ptr_eq(&before.objects.namespaces[&name], &after.objects.namespaces[&name]));
}

/// The next state, and how long it took to be noticed.
fn wait(watch: &mut Watch) -> (Snapshot, Duration) {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(10), "no change was noticed");
        if let Some(snapshot) = watch.changed().unwrap() {
            return (snapshot, began.elapsed());
        }
    }
}

#[test]
fn changes_are_noticed_at_once() {
    let place = Place::new();
    place.write("a.yaml", &namespace("a", "1"));
    // Without events this would take an hour.
    let mut watch = Watch::new(place.directory()).rescan_every(Duration::from_secs(3600));
    assert!(watch.now().unwrap().is_some());
    place.write("b.yaml", &namespace("b", "1"));
    assert_eq!(namespaces(&wait(&mut watch).0), ["a", "b"]);
    fs::create_dir(place.path("new")).unwrap();
    place.write("new/c.yaml", &namespace("c", "1"));
    let (snapshot, _) = wait(&mut watch);
    assert_eq!(namespaces(&snapshot), ["a", "b", "c"]);
    fs::write(place.path("a.yaml"), namespace("a", "in place")).unwrap();
    assert_eq!(label(&wait(&mut watch).0, "a"), "in place");
    place.report("shop.p.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, uid: u}\n");
    wait(&mut watch);
    fs::remove_file(place.path("new/c.yaml")).unwrap();
    assert_eq!(namespaces(&wait(&mut watch).0), ["a", "b"]);
}

#[test]
fn what_tells_no_event_is_found_by_looking() {
    let place = Place::new();
    let far = tempfile::tempdir().unwrap();
    fs::write(far.path().join("f.yaml"), namespace("f", "1")).unwrap();
    symlink(far.path().join("f.yaml"), place.path("f.yaml")).unwrap();
    let mut watch = Watch::new(place.directory()).rescan_every(Duration::from_millis(50));
    assert!(watch.now().unwrap().is_some());
    replace(&far.path().join("f.yaml"), &namespace("f", "2"));
    assert_eq!(label(&wait(&mut watch).0, "f"), "2");
}

#[test]
fn a_source_that_is_away_is_an_error_and_comes_back() {
    let place = Place::new();
    place.write("a.yaml", &namespace("a", "1"));
    let mut watch = Watch::new(place.directory()).rescan_every(Duration::from_millis(50));
    watch.now().unwrap();
    let away = place.directory.path().join("away");
    fs::rename(place.path(""), &away).unwrap();
    let error = watch.now().unwrap_err().to_string();
    assert!(error.contains("cannot list") && error.contains("source"), "{error}");
    fs::rename(&away, place.path("")).unwrap();
    place.write("b.yaml", &namespace("b", "1"));
    assert_eq!(namespaces(&wait(&mut watch).0), ["a", "b"]);
}

#[test]
fn of_secrets_only_the_one_that_the_authority_names_is_read() {
    let secret = |name: &str, keys: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: mesh-system}}\nstringData: {{{keys}}}\n"
        )
    };
    let config = "---
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {ca: {secretRef: {name: ca, namespace: mesh-system}}}
";
    let keys = "tls.crt: a, tls.key: b, ca.crt: c, password: d";
    let all = secret("ca", keys) + &secret("other", keys) + &secret("plain", "password: d");
    let named = super::of_yaml(&(all.clone() + config));
    assert!(named.problems.is_empty());
    let names: Vec<_> = named.objects.ca_secrets.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["mesh-system/ca"]);
    let secret = &named.objects.ca_secrets.values().next().unwrap();
    assert_eq!(secret.string_data.keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(format!("{secret:?}"), "CaSecret { .. }");
    assert!(super::of_yaml(&all).objects.ca_secrets.is_empty());
}
