//! The control plane's machine: etcd, the API server, the controllers and the scheduler.

use std::{fs, path::Path, path::PathBuf};

use serde_json::json;

use super::{
    Error,
    certificates::{self, Authority},
    error::io,
    machine::{Daemon, Machine, PROGRAMS},
    place::{API_PORT, CONTROL, Place},
};

/// What the parts of the cluster believe each other by.
#[derive(Debug)]
pub(super) struct Trust {
    /// Signs everybody's certificates.
    pub(super) authority: Authority,
}

impl Trust {
    /// A new one.
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self { authority: Authority::new("kubernetes")? })
    }

    /// Writes a kubeconfig for a user, and what it needs beside it; `seen` is the folder as its reader sees it.
    pub(super) fn kubeconfig(
        &self,
        folder: &Path,
        seen: &Path,
        (file, user, group): (&str, &str, Option<&str>),
    ) -> Result<PathBuf, Error> {
        self.authority.client(&folder.join(file), user, group)?;
        self.authority.write(&folder.join("ca.crt"))?;
        let server = format!("https://{}:{API_PORT}", Place::plan().beyond().v4);
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "mesh-cluster",
            "clusters": [{
                "name": "mesh-cluster",
                "cluster": { "server": server, "certificate-authority": seen.join("ca.crt") },
            }],
            "users": [{
                "name": user,
                "user": {
                    "client-certificate": seen.join(file).with_extension("crt"),
                    "client-key": seen.join(file).with_extension("key"),
                },
            }],
            "contexts": [{ "name": "mesh-cluster", "context": { "cluster": "mesh-cluster", "user": user } }],
        });
        let path = folder.join(file).with_extension("kubeconfig");
        fs::write(&path, serde_json::to_vec_pretty(&text)?).map_err(io("write", &path))?;
        Ok(path)
    }
}

/// Exists once the API server answers, on the control plane's machine.
const API_READY: &str = "/run/api-ready";

/// Starts those that need the API server.
pub(super) fn api_is_ready() -> Result<(), Error> {
    let path = Place::machine(CONTROL).join(API_READY.trim_start_matches('/'));
    fs::write(&path, "").map_err(io("write", &path))
}

/// The machine, with all that it needs written.
pub(super) fn machine(place: &Place, trust: &Trust) -> Result<Machine, Error> {
    let kubeconfig = |user: &str| format!("/etc/kubernetes/{user}.kubeconfig");
    let daemons = vec![
        daemon("etcd", None, etcd()),
        daemon("kube-apiserver", None, api_server()),
        daemon(
            "kube-controller-manager",
            Some(API_READY),
            controller_manager(&kubeconfig("kube-controller-manager")),
        ),
        daemon("kube-scheduler", Some(API_READY), scheduler(&kubeconfig("kube-scheduler"))),
    ];
    let machine = Machine::new(place, CONTROL, daemons)?;

    let (etc, seen) = (Place::etc(CONTROL), Path::new("/etc/kubernetes"));
    for user in ["kube-controller-manager", "kube-scheduler"] {
        trust.kubeconfig(&etc, seen, (user, &format!("system:{user}"), None))?;
    }
    let authority = &trust.authority;
    authority.write_key(&etc.join("ca.key"))?;
    let plan = Place::plan();
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    let addresses = [plan.beyond(), plan.service(1)].map(crate::addresses::Pair::both).concat();
    let local = [[127, 0, 0, 1].into()];
    authority.server(&etc.join("kube-apiserver"), &names, &[addresses.as_slice(), &local].concat())?;
    authority.client(&etc.join("kubelet-client"), "kube-apiserver-kubelet-client", Some("system:masters"))?;
    certificates::signing_key(&etc.join("service-accounts"))?;
    // Extension API servers believe whom the API server names only if it shows this one's certificate.
    let front = Authority::new("front-proxy")?;
    front.write(&etc.join("front-proxy-ca.crt"))?;
    front.client(&etc.join("front-proxy"), "front-proxy-client", None)?;
    Ok(machine)
}

fn daemon(name: &str, after: Option<&str>, arguments: Vec<String>) -> Daemon {
    let program = if name == "etcd" { name.to_owned() } else { format!("{PROGRAMS}/{name}") };
    Daemon {
        name: name.to_owned(),
        argv: std::iter::once(program).chain(arguments).collect(),
        after: after.map(PathBuf::from),
    }
}

fn arguments(fixed: &[&str]) -> Vec<String> {
    fixed.iter().map(ToString::to_string).collect()
}

fn etcd() -> Vec<String> {
    arguments(&[
        "--data-dir=/var/lib/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--logger=zap",
        "--log-outputs=stderr",
    ])
}

fn services() -> String {
    let (v4, v6) = Place::plan().services();
    format!("--service-cluster-ip-range={v4},{v6}")
}

fn api_server() -> Vec<String> {
    let mut all = arguments(&[
        "--etcd-servers=http://127.0.0.1:2379",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        // No kube-proxy here: webhooks and extensions are reached at their pods.
        "--enable-aggregator-routing",
        "--client-ca-file=/etc/kubernetes/ca.crt",
        "--tls-cert-file=/etc/kubernetes/kube-apiserver.crt",
        "--tls-private-key-file=/etc/kubernetes/kube-apiserver.key",
        "--kubelet-certificate-authority=/etc/kubernetes/ca.crt",
        "--kubelet-client-certificate=/etc/kubernetes/kubelet-client.crt",
        "--kubelet-client-key=/etc/kubernetes/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--requestheader-client-ca-file=/etc/kubernetes/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--proxy-client-cert-file=/etc/kubernetes/front-proxy.crt",
        "--proxy-client-key-file=/etc/kubernetes/front-proxy.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-account-key-file=/etc/kubernetes/service-accounts.pub",
        "--service-account-signing-key-file=/etc/kubernetes/service-accounts.key",
    ]);
    all.push(services());
    all.push(format!("--advertise-address={}", Place::plan().beyond().v4));
    all.push(format!("--secure-port={API_PORT}"));
    all
}

fn controller_manager(kubeconfig: &str) -> Vec<String> {
    let mut all = arguments(&[
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        "--use-service-account-credentials",
        "--service-account-private-key-file=/etc/kubernetes/service-accounts.key",
        "--root-ca-file=/etc/kubernetes/ca.crt",
        "--cluster-signing-cert-file=/etc/kubernetes/ca.crt",
        "--cluster-signing-key-file=/etc/kubernetes/ca.key",
    ]);
    all.push(services());
    all.push(format!("--kubeconfig={kubeconfig}"));
    all.push(format!("--authentication-kubeconfig={kubeconfig}"));
    all.push(format!("--authorization-kubeconfig={kubeconfig}"));
    all
}

fn scheduler(kubeconfig: &str) -> Vec<String> {
    let mut all = arguments(&["--bind-address=127.0.0.1", "--leader-elect=false"]);
    all.push(format!("--kubeconfig={kubeconfig}"));
    all.push(format!("--authentication-kubeconfig={kubeconfig}"));
    all.push(format!("--authorization-kubeconfig={kubeconfig}"));
    all
}
