//! A cluster in which something is always to be done for a controller: objects that change, pods that come, agents that
//! want to join.

mod routes;

use std::{
    cell::Cell,
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::{Child, Command, Stdio},
};

use mesh_tests::cluster::{
    Place, define,
    trial::{TIMEOUT, program, target, until, workspace},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use crate::here::Here;

/// The user that relays run as.
const RELAY: u32 = 65_532;

/// The objects, for as long as it is held.
pub(super) struct Stirring<'a> {
    here: &'a Here,
    namespace: String,
    times: Cell<u32>,
}

impl<'a> Stirring<'a> {
    /// Makes them, with an authority as cert-manager writes it in the namespace of that name.
    pub(super) fn begin(here: &'a Here, namespace: String) -> Self {
        let definitions = workspace().join("deploy/crds");
        here.ask(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            definitions.to_str().expect("a plain path"),
        ]);
        here.ask(&["wait", "--for=condition=Established", "crd", "--all", TIMEOUT]);
        define(&here.kubectl, &Place::new(&target()).definitions()).expect("the Gateway API's definitions");
        let labels = json!({"mesh.internal/mode": "enabled"});
        here.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
                .to_string(),
            &[],
        );
        // Where there is a controller manager it makes this one too.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace}});
        here.apply(&account.to_string(), &[]);
        let (root, issuer, key) = authority();
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "mesh-ca", "namespace": namespace},
            "stringData": {"ca.crt": root, "tls.crt": issuer, "tls.key": key}});
        here.apply(&secret.to_string(), &[]);
        let stirring = Self { here, namespace, times: Cell::new(0) };
        stirring.stir();
        stirring
    }

    /// Changes every object of the mesh and of the Gateway API, and makes a pod more that cannot be in the mesh.
    pub(super) fn stir(&self) {
        let times = self.times.replace(self.times.get() + 1);
        let object = |kind: &str, name: &str, namespaced: bool, spec: Value| {
            let mut object = json!({"apiVersion": "mesh.internal/v1alpha1", "kind": kind,
                "metadata": {"name": name}, "spec": spec});
            if namespaced {
                object["metadata"]["namespace"] = json!(self.namespace);
            }
            object
        };
        let selector = json!({"matchLabels": {"stirred": times.to_string()}});
        // Now it is good, now it is not: that is worth an event.
        let mut policy = json!({"selector": selector, "ingress": []});
        if !times.is_multiple_of(2) {
            policy["ingres"] = json!([]);
        }
        let everywhere = json!({"tier": "Baseline", "subject": {"pods": selector}, "ingress": []});
        let config = json!({
            "ca": {"secretRef": {"name": "mesh-ca", "namespace": self.namespace}},
            "defaults": {"encryption": if times.is_multiple_of(2) { "Auto" } else { "Always" }},
        });
        let mut items = vec![
            object("AccessPolicy", "rights", true, policy),
            object("ClusterAccessPolicy", "rights", false, everywhere),
            object("MeshConfig", "default", false, config),
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("stirred-{times}"), "namespace": self.namespace},
                "spec": {"hostNetwork": true, "schedulerName": "nobody",
                    "containers": [{"name": "main", "image": "nowhere.invalid/none"}]}}),
        ];
        items.extend(routes::objects(&self.namespace, times));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let apply = ["apply", "--server-side", "--force-conflicts", "--validate=ignore", "--filename=-"];
        until("the objects to be changed", || {
            self.here.kubectl.run_with(&apply, &list).map(drop).map_err(|error| error.to_string())
        });
    }
}

impl Drop for Stirring<'_> {
    fn drop(&mut self) {
        for objects in [
            &["clusteraccesspolicy", "rights"][..],
            &["meshconfig", "default"],
            &["xmesh", routes::MESH],
            &["namespace", "--wait=false", &*self.namespace],
        ] {
            let _ = self.here.kubectl.run(&[&["delete", "--ignore-not-found"], objects].concat());
        }
    }
}

/// A root, an issuer below it and the issuer's key.
fn authority() -> (String, String, String) {
    let of = |path: u8| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let (root_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let root = of(1).self_signed(&root_key).expect("a root");
    let root_issuer = Issuer::new(of(1), root_key);
    let issuer = of(0).signed_by(&key, &root_issuer).expect("an issuer");
    (root.pem(), issuer.pem(), key.serialize_pem())
}

/// What an agent needs beside its controller: a node that waits for one, and a pod on it that is ready.
pub(super) fn node(here: &Here, name: &str) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"taints": [{"key": "mesh.internal/agent-not-ready", "effect": "NoSchedule"}]}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": name},
        "spec": {"nodeName": name, "terminationGracePeriodSeconds": 0, "serviceAccountName": "mesh-agent",
            "containers": [{"name": "main", "image": "nowhere.invalid/none"}]}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "mesh-agent", "namespace": name}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [account, node, pod]});
    here.apply(&list.to_string(), &[]);
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    here.ask(&[
        "patch",
        "pod",
        "agent",
        "--namespace",
        name,
        "--subresource=status",
        "-p",
        &ready.to_string(),
    ]);
}

/// A relay that wants to join the controller at this port, again and again, once the roots are told.
pub(super) struct Agent(Option<Child>);

impl Agent {
    /// Begins when the controller has written whom to believe; nothing until then.
    pub(super) fn begin(&mut self, here: &Here, folder: &Path, name: &str, port: u16) {
        if self.0.is_some() {
            return;
        }
        let roots = ["get", "configmap", "mesh-roots", "--namespace", name, "--output=json"];
        let Ok(text) = here.kubectl.run(&roots) else { return };
        let roots: Value = serde_json::from_str(&text).expect("JSON");
        let (account, run) = (folder.join("account"), folder.join("relay"));
        for folder in [&account, &run] {
            fs::create_dir_all(folder).expect("a folder");
        }
        for (key, value) in roots["data"].as_object().expect("a map") {
            fs::write(account.join(key), value.as_str().expect("text")).expect("a file");
        }
        let token = ["create", "token", "mesh-agent", "--namespace", name, "--audience=mesh-control"];
        fs::write(account.join("token"), here.ask(&token)).expect("a file");
        let open = fs::Permissions::from_mode(0o755);
        for above in [folder.parent().expect("a folder"), folder] {
            fs::set_permissions(above, open.clone()).expect("a folder of ours");
        }
        chown(&run, Some(RELAY), Some(RELAY)).expect("root gives away");
        // relay refuses to run with a capability.
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={RELAY}"), &format!("--regid={RELAY}"), "--clear-groups"]);
        command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(program("mesh-agent").get_program());
        command.args(["relay", "--node", name, "--metrics=127.0.0.1:0", "--access-log=-"]);
        command.arg("--run-dir").arg(run).arg("--service-account").arg(account);
        command.arg(format!("--control=tcp:127.0.0.1:{port}"));
        let log = File::create(folder.join("relay.log")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.0 = Some(command.spawn().expect("mesh-agent runs"));
    }

    pub(super) fn none() -> Self {
        Self(None)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
