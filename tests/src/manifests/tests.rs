use super::*;

fn read(files: &[(&str, &str)]) -> (Manifests, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let (manifests, errors) = Source::new(directory.path()).read();
    (manifests, errors.iter().map(ToString::to_string).collect())
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: n}\nspec: {nodeName: x, containers: [{name: c, command: [sleep, inf]}]}\n";

#[test]
fn several_documents_lists_and_passed_over_kinds() {
    let list =
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n";
    let text = format!(
        "{POD}---\n{list}---\n---\napiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nbroken: [yes]\n"
    );
    let (manifests, errors) = read(&[("a.yaml", &text), (".hidden.yaml", "}"), ("notes.txt", "}")]);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(manifests.pods.keys().map(ToString::to_string).collect::<Vec<_>>(), ["n/a"]);
    assert!(manifests.namespaces.contains_key("n"));
    assert_eq!(manifests.passed_over, ["AccessPolicy"]);
    assert_eq!(manifests.node_names().into_iter().collect::<Vec<_>>(), ["x"]);
}

#[test]
fn errors_name_what_is_wrong() {
    let (_, errors) = read(&[
        ("1.yaml", "apiVersion: example.org/v1\nkind: Gizmo\nmetadata: {name: g}\n"),
        (
            "2.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{name: web, image: nginx}]}\n",
        ),
        ("3.yaml", POD),
        ("4.yaml", POD),
        ("5.yaml", "kind: ]"),
    ]);
    let all = errors.join("\n");
    assert!(all.contains("1.yaml") && all.contains("Gizmo"), "{all}");
    assert!(all.contains("default/b") && all.contains("spec.containers[web].command"), "{all}");
    assert!(all.contains("n/a is defined twice"), "{all}");
    assert!(all.contains("5.yaml: document 1 is not valid YAML"), "{all}");
    assert_eq!(errors.len(), 4, "{all}");
}

#[test]
fn workloads_become_numbered_pods() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: n}\nspec:\n  replicas: 2\n  selector: {}\n  \
                template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, command: [sleep, inf]}]}}\n";
    let (manifests, errors) = read(&[("a.yaml", text)]);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(manifests.pods.keys().map(ToString::to_string).collect::<Vec<_>>(), ["n/web-0", "n/web-1"]);
    assert!(manifests.pods.values().all(|manifest| manifest.generated));
}

#[test]
fn an_unreadable_file_keeps_its_last_good_content() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    let mut source = Source::new(directory.path());
    std::fs::write(&file, POD).unwrap();
    assert_eq!(source.read().0.pods.len(), 1);
    std::fs::write(&file, "{").unwrap();
    let (manifests, errors) = source.read();
    assert_eq!((manifests.pods.len(), errors.len()), (1, 1));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(source.read().0.pods.len(), 0);
}
