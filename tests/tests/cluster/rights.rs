//! Least rights: the controller asks for every verb that the chart gives it, and for no other. It runs here as a process
//! with the token of a ServiceAccount that has all of them but one, and its log names the one.

mod stir;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use mesh_tests::cluster::trial::{free_port, program, until};
use serde_json::{Value, json};

use crate::{
    here::{Here, rendered},
    server::ApiServer,
};
use stir::{Agent, Stirring};

/// Where the Secret is that the MeshConfig names, and the objects that the controllers look at. Of this run: what an
/// earlier one left may still be going.
fn scene() -> String {
    format!("rights-{}", std::process::id())
}

/// Until a controller has missed what it lacks: it may have to be elected, then waits 10 seconds for agents before it
/// writes status, and counts an event that it has told before once in a minute. Twelve at once are much for two cores.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many controllers run at a time.
const AT_ONCE: usize = 12;

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq)]
struct Right {
    /// The kind of role that it stands in: ClusterRole, or Role of the controller's or of the Secret's namespace.
    role: Role,
    group: String,
    resource: String,
    names: Vec<String>,
    verb: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Cluster,
    Own,
    Authority,
}

impl Right {
    /// As the API server says that it lacks.
    fn lacking(&self) -> String {
        format!("cannot {} resource \"{}\" in API group \"{}\"", self.verb, self.resource, self.group)
    }

    /// Whether it is for lists, which are asked for only where they cannot be streamed.
    fn is_list(&self) -> bool {
        self.verb == "list"
    }

    fn rule(&self) -> Value {
        let mut rule = json!({"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]});
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

/// What the chart gives the controller, verb by verb.
fn granted() -> Vec<Right> {
    let list: Value = serde_json::from_str(&rendered(&["--output", "json"])).expect("JSON");
    let roles = [
        ("ClusterRole", "mesh-control", Role::Cluster),
        ("Role", "mesh-control", Role::Own),
        ("Role", "mesh-control-authority", Role::Authority),
    ];
    let mut rights = Vec::new();
    for item in list["items"].as_array().expect("a list") {
        let found = roles
            .iter()
            .find(|(kind, name, _)| item["kind"] == json!(kind) && item["metadata"]["name"] == json!(name));
        let Some((_, _, role)) = found else { continue };
        for rule in item["rules"].as_array().expect("rules") {
            let words = |field: &str| -> Vec<String> {
                rule.get(field)
                    .map_or_else(Vec::new, |words| serde_json::from_value(words.clone()).expect("words"))
            };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    for verb in words("verbs") {
                        let (group, resource) = (group.clone(), resource.clone());
                        rights.push(Right {
                            role: *role,
                            group,
                            resource,
                            names: words("resourceNames"),
                            verb,
                        });
                    }
                }
            }
        }
    }
    assert!(rights.len() > 30, "{rights:?}");
    rights
}

/// A ServiceAccount in a namespace of its own with these rights.
fn account(name: &str, rights: &[Right]) -> String {
    let scene = scene();
    let object = |kind: &str, namespace: Option<&str>, more: Value| {
        let version = if kind == "Namespace" || kind == "ServiceAccount" {
            "v1"
        } else {
            "rbac.authorization.k8s.io/v1"
        };
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        object
    };
    let mut objects =
        vec![object("Namespace", None, json!({})), object("ServiceAccount", Some(name), json!({}))];
    for (role, kind, namespace) in [
        (Role::Cluster, "ClusterRole", None),
        (Role::Own, "Role", Some(name)),
        (Role::Authority, "Role", Some(&*scene)),
    ] {
        let rules: Vec<Value> = rights.iter().filter(|right| right.role == role).map(Right::rule).collect();
        objects.push(object(kind, namespace, json!({"rules": rules})));
        let binding = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": name}],
        });
        objects.push(object(&format!("{kind}Binding"), namespace, binding));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// Waits until the API server heeds the roles of an account that has all rights: each kind of them is followed by itself.
fn heeded(here: &Here, name: &str) {
    let account = format!("--as=system:serviceaccount:{name}:{name}");
    for [verb, what, namespace] in [
        ["watch", "nodes", "default"],
        ["update", "leases.coordination.k8s.io/mesh-control", name],
        ["watch", "secrets/mesh-ca", &scene()],
    ] {
        until(&format!("the rights of {name} to be heeded"), || {
            let namespace = format!("--namespace={namespace}");
            let asked = ["auth", "can-i", "--quiet", verb, what, &namespace, &account];
            here.kubectl.run(&asked).map(drop).map_err(|error| error.to_string())
        });
    }
}

/// A controller with an account's rights, for as long as it is held.
struct Controller {
    name: String,
    folder: PathBuf,
    port: u16,
    process: Child,
}

impl Controller {
    fn start(here: &Here, folder: &Path, name: &str, rights: &[Right], is_whole: bool) -> Self {
        here.apply(&account(name, rights), &[]);
        stir::node(here, name);
        if is_whole {
            heeded(here, name);
        }
        let token = here.ask(&["create", "token", "--namespace", name, name]);
        let text = here.ask(&["config", "view", "--raw", "--minify", "--output=json"]);
        let mut kubeconfig: Value = serde_json::from_str(&text).expect("JSON");
        kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
        let folder = folder.join(name);
        fs::create_dir_all(folder.join("run")).expect("a folder");
        let path = folder.join("kubeconfig");
        fs::write(&path, kubeconfig.to_string()).expect("a file");
        let port = free_port();
        let mut command = program("mesh-control");
        command.args(["--source=kubernetes", "--namespace", name]).arg("--run-dir").arg(folder.join("run"));
        command.arg(format!("--listen=127.0.0.1:{port}")).env("KUBECONFIG", &path).env("RUST_LOG", "info");
        let log = File::create(folder.join("log")).expect("a file");
        command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null());
        let process = command.spawn().expect("mesh-control runs");
        Self { name: name.to_owned(), folder, port, process }
    }

    /// What it said, with quotes as they were.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default().replace('\\', "")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs Kubernetes built: cargo xtask cluster check"]
fn the_controller_asks_for_every_verb_that_it_has_and_for_no_other() {
    let rights = granted();
    // An API server that streams lists is asked for none, so these have one that does not.
    let (lists, others): (Vec<usize>, Vec<usize>) =
        (0..rights.len()).partition(|index| rights[*index].is_list());
    let (shared, own): (Vec<usize>, Vec<usize>) =
        others.into_iter().partition(|index| writes_what_others_write(&rights[*index]));
    // What is told again takes a minute, and gets an API server of its own.
    let (again, shared): (Vec<usize>, Vec<usize>) = shared
        .into_iter()
        .partition(|index| rights[*index].resource == "events" && rights[*index].verb == "patch");
    let alone = |indices: &[usize]| indices.iter().map(|index| vec![*index]).collect::<Vec<_>>();
    let groups: Vec<Vec<usize>> = own.chunks(AT_ONCE).map(<[usize]>::to_vec).chain(alone(&shared)).collect();
    let needless = thread::scope(|scope| {
        let later = scope.spawn(|| {
            let groups: Vec<Vec<usize>> = lists.chunks(AT_ONCE).map(<[usize]>::to_vec).collect();
            let mut needless = all_missed(&rights, &[], &alone(&again));
            needless.extend(all_missed(&rights, &["--feature-gates=WatchList=false"], &groups));
            needless
        });
        let mut needless = all_missed(&rights, &[], &groups);
        needless.extend(later.join().expect("it says what it found"));
        needless
    });
    assert!(needless.is_empty(), "nothing misses:\n{}", needless.join("\n"));
}

/// Those that were not missed, group after group at one API server with these arguments.
fn all_missed(rights: &[Right], arguments: &[&str], groups: &[Vec<usize>]) -> Vec<String> {
    let here = Here::of(ApiServer::start_with(arguments));
    let scene = Stirring::begin(&here, scene());
    let folder = tempfile::tempdir().expect("a folder");
    groups.iter().flat_map(|group| missed(&here, &scene, folder.path(), rights, group)).collect()
}

/// Whether several controllers do the same thing with it, so that one of them would do for all: every other right is used
/// in a controller's own namespace, or by every one that starts.
fn writes_what_others_write(right: &Right) -> bool {
    right.resource.ends_with("/status") || right.resource == "events"
}

/// Runs a controller without each of these rights, and beside them one with all, of which nothing may be refused. Gives
/// those that were not missed.
fn missed(here: &Here, scene: &Stirring, folder: &Path, rights: &[Right], group: &[usize]) -> Vec<String> {
    let without = group.iter().map(|index| (format!("{}-{index}", self::scene()), Some(*index)));
    let shared = group.iter().any(|index| writes_what_others_write(&rights[*index]));
    let with_all = (!shared).then(|| (format!("{}-all-{}", self::scene(), group[0]), None));
    let mut running: Vec<(Controller, Agent, Option<usize>)> = Vec::new();
    for (name, without) in without.chain(with_all) {
        let left = rights.iter().enumerate().filter(|(index, _)| Some(*index) != without);
        let left: Vec<Right> = left.map(|(_, right)| right.clone()).collect();
        running.push((
            Controller::start(here, folder, &name, &left, without.is_none()),
            Agent::none(),
            without,
        ));
    }
    let names: Vec<String> = running.iter().map(|(controller, ..)| controller.name.clone()).collect();
    let start = Instant::now();
    while start.elapsed() < PATIENCE && running.iter().any(|(.., without)| without.is_some()) {
        scene.stir();
        for (controller, agent, _) in &mut running {
            agent.begin(here, &controller.folder, &controller.name, controller.port);
        }
        thread::sleep(Duration::from_secs(1));
        running.retain(|(controller, _, without)| {
            without.is_none_or(|index| !controller.log().contains(&rights[index].lacking()))
        });
    }
    let mut needless = Vec::new();
    for (controller, _, without) in &running {
        let log = controller.log();
        match without {
            Some(index) => needless.push(format!("{:?}, whose controller said:\n{log}", rights[*index])),
            None => assert!(!log.contains("forbidden"), "{log}"),
        }
    }
    drop(running);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for kinds in ["namespace", "clusterrole", "clusterrolebinding", "node"] {
        let delete = ["delete", "--wait=false", "--ignore-not-found", kinds];
        let _ = here.kubectl.run(&[&delete, &names[..]].concat());
    }
    needless
}
