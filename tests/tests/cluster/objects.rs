//! Bad objects by the hundred against a real API server and the real controller: each is refused by the API server with
//! an error that names the field, or gets a condition that does; and the good ones beside them go on.

mod broken;
mod door;
mod good;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use mesh_tests::cluster::trial::{self, workspace};
use serde_json::{Value, json};

use crate::server::ApiServer;
use broken::{Broken, by_hand, by_schema, root, tally};
use good::{Numbers, Step, good, places};

/// Where the numbers begin; another gives other objects.
const SEED: u64 = 20_261_121;
const NAMESPACE: &str = "shop";

/// The definitions as they are installed.
fn definitions() -> Vec<Value> {
    let read = |plural: &str| -> Value {
        let text = fs::read_to_string(workspace().join(format!("deploy/crds/{plural}.yaml")))
            .expect("cargo xtask crds writes it");
        serde_yaml_ng::from_str(&text).expect("a definition")
    };
    ["accesspolicies", "clusteraccesspolicies", "meshconfigs"].map(read).to_vec()
}

/// Where objects of a kind are created.
fn collection(kind: &str) -> String {
    let root = "/apis/mesh.internal/v1alpha1";
    match kind {
        "AccessPolicy" => format!("{root}/namespaces/{NAMESPACE}/accesspolicies"),
        "ClusterAccessPolicy" => format!("{root}/clusteraccesspolicies"),
        _ => format!("{root}/meshconfigs"),
    }
}

/// The object with its name.
fn named(kind: &str, object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!("mesh.internal/v1alpha1");
    object["kind"] = json!(kind);
    object["metadata"] = json!({"name": if kind == "MeshConfig" { "default" } else { name }});
    object
}

/// Every condition there is, by kind and name, with the time of its last transition.
fn conditions(server: &ApiServer) -> BTreeMap<(String, String), Vec<Value>> {
    let mut all = BTreeMap::new();
    for kind in ["AccessPolicy", "ClusterAccessPolicy", "MeshConfig"] {
        let path = collection(kind).replace(&format!("/namespaces/{NAMESPACE}"), "");
        let (code, list) = server.ask("GET", &path, None);
        assert_eq!(code, 200, "{list}");
        for object in list["items"].as_array().expect("a list") {
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            let generation = &object["metadata"]["generation"];
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let current = conditions.into_iter().filter(|one| one["observedGeneration"] == *generation);
            all.insert((kind.to_owned(), name), current.collect());
        }
    }
    all
}

/// Waits until the statuses are as wanted; the error is what is missing.
fn until(server: &ApiServer, check: impl Fn(&BTreeMap<(String, String), Vec<Value>>) -> Vec<String>) {
    trial::until("the controller's word on everything", || match check(&conditions(server)) {
        missing if missing.is_empty() => Ok(()),
        missing => {
            let said = server.log("mesh-control");
            Err(format!("{} are missing:\n{}\n{said}", missing.len(), missing.join("\n")))
        }
    });
}

fn has(conditions: Option<&Vec<Value>>, kind: &str, status: &str, named: &str) -> bool {
    conditions.into_iter().flatten().any(|one| {
        one["type"] == kind
            && one["status"] == status
            && one["message"].as_str().is_some_and(|text| text.contains(named))
    })
}

/// Creates the manifests of the mesh's kinds that the documentation, the demo and the benches show.
fn create_examples(server: &ApiServer) {
    let mut manifests = Vec::new();
    for folder in ["docs/examples", "tests/manifests/demo", "benches/manifests"] {
        collect(&workspace().join(folder), &mut manifests);
    }
    let mut applied = 0;
    for path in manifests {
        let text = fs::read_to_string(&path).expect("a manifest");
        let is_ours = |document: &&str| document.contains("apiVersion: mesh.internal/v1alpha1");
        for document in text.split("\n---").filter(is_ours) {
            let value: Value = serde_yaml_ng::from_str(document.trim_start_matches('-')).expect("YAML");
            if let Some(namespace) = value["metadata"]["namespace"].as_str() {
                // It may be there already.
                let _ = server.kubectl.run(&["create", "namespace", namespace]);
            }
            // Several files show the MeshConfig; each is tried, none stays.
            let dry: &[&str] = if value["kind"] == "MeshConfig" { &["--dry-run=server"] } else { &[] };
            let arguments = [&["apply", "--filename=-"], dry].concat();
            let tried = server.kubectl.run_with(&arguments, document);
            tried.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            applied += 1;
        }
    }
    println!("{applied} documents of docs/, the demo and the benches are taken");
    assert!(applied >= 12, "only {applied} manifests were found");
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

/// Tries an object for every field that there is; creates some of them, to see that they go on.
fn create_good(server: &ApiServer, definitions: &[Value], numbers: &mut Numbers) {
    let (mut tried, mut refusals) = (0, Vec::new());
    for definition in definitions {
        let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind");
        let root = root(definition);
        let mut found = Vec::new();
        places(&root, &mut Vec::new(), &mut found);
        for (path, _) in found.iter().filter(|(path, _)| path.first() == Some(&Step::Field("spec".into()))) {
            let object = named(kind, &good(&root, "", path, numbers), &format!("good-{tried}"));
            let stays = kind != "MeshConfig" && tried % 10 == 0;
            let dry = if stays { "" } else { "?dryRun=All" };
            let (code, answer) = server.create(&format!("{}{dry}", collection(kind)), &object);
            if code != 201 {
                refusals.push(format!("{}: {}\n  {object}", good::place(path), answer["message"]));
            }
            tried += 1;
        }
    }
    assert!(refusals.is_empty(), "good objects are refused:\n{}", refusals.join("\n"));
    let config = named("MeshConfig", &json!({"spec": {"defaults": {"access": "Allow"}}}), "");
    let (code, answer) = server.create(&collection("MeshConfig"), &config);
    assert_eq!(code, 201, "{answer}");
    println!("{tried} good objects, one for each field, are taken");
}

/// Sends the bad ones to the API server; gives those that it took, with the names they got. A MeshConfig
/// that it takes is not created, because there is one only.
fn send(server: &ApiServer, all: &[Broken], wrong: &mut Vec<String>) -> BTreeMap<(String, String), Broken> {
    let mut taken = BTreeMap::new();
    for (number, broken) in all.iter().enumerate() {
        let name = format!("bad-{number}");
        let object = named(&broken.kind, &broken.object, &name);
        let dry = if broken.kind == "MeshConfig" { "?dryRun=All" } else { "" };
        let (code, answer) = server.create(&format!("{}{dry}", collection(&broken.kind)), &object);
        let said = answer["message"].as_str().unwrap_or_default();
        // A MeshConfig is there already; that another would be taken is all that can be seen.
        let is_taken = code == 201 || (code == 409 && broken.kind == "MeshConfig");
        let is_named = said.contains(&broken.named);
        if is_taken && broken.expected.condition().is_some() {
            taken.insert((broken.kind.clone(), name), broken.clone());
        } else if !([400, 422].contains(&code) && broken.expected.may_be_refused() && is_named) {
            wrong.push(format!(
                "{} ({name}): expected {:?} naming `{}`, the API server said {code}: {said}",
                broken.what, broken.expected, broken.named
            ));
        }
    }
    taken
}

/// Bad ones that do not touch the same field, as one.
fn together<'a>(bad: &[&'a Broken]) -> Vec<(Value, Vec<&'a Broken>)> {
    let mut all: Vec<(Value, Vec<&Broken>)> = Vec::new();
    for broken in bad {
        let fields = |object: &Value| -> Vec<String> {
            let of = |value: &Value| {
                value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
            };
            let (root, spec): (Vec<String>, Vec<String>) = (of(object), of(&object["spec"]));
            root.into_iter().filter(|name| name != "spec").chain(spec).collect()
        };
        let own = fields(&broken.object);
        let free = all.iter_mut().find(|(object, _)| !fields(object).iter().any(|name| own.contains(name)));
        let Some((object, parts)) = free else {
            all.push((broken.object.clone(), vec![broken]));
            continue;
        };
        parts.push(broken);
        for (name, value) in
            broken.object.as_object().into_iter().flatten().filter(|(name, _)| *name != "spec")
        {
            object[name] = value.clone();
        }
        for (name, value) in broken.object["spec"].as_object().into_iter().flatten() {
            object["spec"][name] = value.clone();
        }
    }
    all
}

/// Gives the one MeshConfig the bad specs in turn, and its own back.
fn change_mesh_config(server: &ApiServer, bad: &[&Broken]) {
    let path = format!("{}/default", collection("MeshConfig"));
    let put = |object: &Value| {
        // The controller writes its status meanwhile: a conflict is answered by asking again.
        trial::until("the MeshConfig to be another", || {
            let (_, now) = server.ask("GET", &path, None);
            let mut object = named("MeshConfig", object, "");
            object["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
            match server.ask("PUT", &path, Some(("application/json", &object))) {
                (200, _) => Ok(()),
                (409, answer) => Err(answer.to_string()),
                (code, answer) => panic!("{code}: {answer}"),
            }
        });
    };
    let (_, before) = server.ask("GET", &path, None);
    for (object, parts) in together(bad) {
        put(&object);
        until(server, |conditions| {
            let config = conditions.get(&("MeshConfig".to_owned(), "default".to_owned()));
            let untold = parts.iter().filter(|broken| {
                !broken.expected.condition().is_some_and(|kind| has(config, kind, "False", &broken.named))
            });
            untold
                .map(|broken| format!("{}: no word of `{}` in {config:?}", broken.what, broken.named))
                .collect()
        });
    }
    put(&json!({"spec": before["spec"]}));
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn bad_objects_are_refused_or_told_of_and_good_ones_go_on() {
    let began = Instant::now();
    let mut server = ApiServer::start();
    let (definitions, mut numbers) = (definitions(), Numbers(SEED));
    server.define(&["mesh-objects", NAMESPACE]);
    create_examples(&server);
    create_good(&server, &definitions, &mut numbers);
    let administrator = server.path("kubeconfig");
    server.control("mesh-control", &administrator, &["--namespace=mesh-objects".to_owned()]);
    let is_good = |name: &str| !name.starts_with("bad-");
    let not_accepted = |conditions: &BTreeMap<(String, String), Vec<Value>>| {
        let good = conditions.iter().filter(|((_, name), _)| is_good(name));
        let bad = good.filter(|(_, conditions)| !has(Some(conditions), "Accepted", "True", ""));
        bad.map(|((kind, name), conditions)| format!("{kind}/{name}: {conditions:?}")).collect()
    };
    until(&server, not_accepted);
    let since = |server: &ApiServer| -> BTreeMap<(String, String), Value> {
        let good =
            conditions(server).into_iter().filter(|((kind, name), _)| is_good(name) && kind != "MeshConfig");
        let accepted = good.filter_map(|(object, conditions)| {
            let accepted = conditions.into_iter().find(|one| one["type"] == "Accepted")?;
            Some((object, accepted["lastTransitionTime"].clone()))
        });
        accepted.collect()
    };
    let good_since = since(&server);
    println!("{} good ones are accepted after {:?}", good_since.len(), began.elapsed());

    let mut all: Vec<Broken> =
        definitions.iter().flat_map(|definition| by_schema(definition, &mut numbers)).collect();
    all.extend(by_hand());
    println!("{} bad objects: {:#?}", all.len(), tally(&all));
    assert!(all.len() >= 300);
    let mut wrong = Vec::new();
    let taken = send(&server, &all, &mut wrong);
    println!("sent after {:?}; {} of them are the controller's to judge", began.elapsed(), taken.len());
    assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong.join("\n"));

    let (configs, policies): (Vec<_>, Vec<_>) = taken.iter().partition(|((kind, _), _)| kind == "MeshConfig");
    until(&server, |conditions| {
        let untold = policies.iter().filter(|(object, broken)| {
            let told = |kind| has(conditions.get(*object), kind, "False", &broken.named);
            !broken.expected.condition().is_some_and(told)
        });
        let shown = |(object, broken): &(&(String, String), &Broken)| {
            format!(
                "{} {object:?}: no word of `{}` in {:?}",
                broken.what,
                broken.named,
                conditions.get(object)
            )
        };
        untold.map(shown).collect()
    });
    println!("every policy is told of after {:?}", began.elapsed());
    let configs: Vec<&Broken> = configs.into_iter().map(|(_, broken)| broken).collect();
    change_mesh_config(&server, &configs);

    let misspelt: Vec<&Broken> = all.iter().filter(|broken| broken.named.starts_with("misspelt")).collect();
    door::refuses(&server, &misspelt);

    // One more that is good, last of all; and those from before were so all the time.
    let last = named("AccessPolicy", &json!({"spec": {"selector": {}, "ingress": []}}), "good-last");
    assert_eq!(server.create(&collection("AccessPolicy"), &last).0, 201);
    until(&server, not_accepted);
    let mut now = since(&server);
    now.remove(&("AccessPolicy".to_owned(), "good-last".to_owned()));
    assert_eq!(now, good_since, "good objects were not accepted for a while");
    println!("all after {:?}", began.elapsed());
}
