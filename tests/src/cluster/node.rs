//! A node's machine: containerd, kubelet, kube-proxy and what connects pods.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Error,
    control::Trust,
    error::io,
    machine::{Daemon, Machine, PROGRAMS},
    place::Place,
};

/// The image that holds a pod's namespaces.
pub(super) const PAUSE: &str = "mesh.internal/pause:cluster";

/// The image of the cluster's DNS.
pub(super) const COREDNS: &str = "mesh.internal/coredns:cluster";

/// Exists on a node once its images are there and the API server answers.
const GO: &str = "/run/kubelet-may-start";

/// How kube-proxy implements Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(super) enum ProxyMode {
    /// By nftables.
    Nftables,
    /// By iptables.
    Iptables,
}

impl ProxyMode {
    /// As kube-proxy's configuration has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// Starts kubelet and kube-proxy on a node.
pub(super) fn start_kubelet(name: &str) -> Result<(), Error> {
    let path = Place::machine(name).join(GO.trim_start_matches('/'));
    fs::write(&path, "").map_err(io("write", &path))
}

/// The node as an API object, there before its kubelet: it says which addresses its pods have.
pub(super) fn object(number: u8) -> Value {
    let (v4, v6) = Place::plan().pods(number);
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": Place::node(number) },
        "spec": { "podCIDR": v4, "podCIDRs": [v4, v6] },
    })
}

/// The machine, with all that it needs written.
pub(super) fn machine(place: &Place, trust: &Trust, number: u8, proxy: ProxyMode) -> Result<Machine, Error> {
    let name = Place::node(number);
    let addresses = Place::plan().node(number);
    let kubelet = [
        format!("{PROGRAMS}/kubelet"),
        "--config=/etc/kubernetes/kubelet.json".to_owned(),
        "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig".to_owned(),
        format!("--node-ip={},{}", addresses.v4, addresses.v6),
    ];
    let daemon = |name: &str, after: Option<&str>, argv: Vec<String>| Daemon {
        name: name.to_owned(),
        argv,
        after: after.map(Into::into),
    };
    let containerd = ["containerd", "--config=/etc/kubernetes/containerd.toml"].map(str::to_owned);
    let kube_proxy =
        [format!("{PROGRAMS}/kube-proxy"), "--config=/etc/kubernetes/kube-proxy.json".to_owned()];
    let daemons = vec![
        daemon("containerd", None, containerd.into()),
        daemon("kubelet", Some(GO), kubelet.into()),
        daemon("kube-proxy", Some(GO), kube_proxy.into()),
    ];
    let machine = Machine::new(place, &name, daemons)?;

    let (etc, seen) = (Place::etc(&name), Path::new("/etc/kubernetes"));
    let user = format!("system:node:{name}");
    trust.kubeconfig(&etc, seen, ("kubelet", &user, Some("system:nodes")))?;
    trust.kubeconfig(&etc, seen, ("kube-proxy", "system:kube-proxy", None))?;
    trust.authority.server(&etc.join("kubelet-serving"), &[&name], &addresses.both())?;
    let cni = etc.join("cni");
    fs::create_dir_all(&cni).map_err(io("make", &cni))?;
    for (file, text) in [
        ("containerd.toml", containerd_configuration()),
        ("kubelet.json", kubelet_configuration().to_string()),
        ("kube-proxy.json", proxy_configuration(proxy).to_string()),
        ("cni/10-mesh-cluster.conflist", network_configuration(number).to_string()),
    ] {
        let path = etc.join(file);
        fs::write(&path, text).map_err(io("write", &path))?;
    }
    Ok(machine)
}

fn containerd_configuration() -> String {
    format!(
        r#"version = 2

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Without CAP_SYS_RESOURCE scores cannot be lowered.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/kubernetes/cni"
"#
    )
}

fn kubelet_configuration() -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": "/etc/kubernetes/ca.crt" },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": "/etc/kubernetes/kubelet-serving.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/kubelet-serving.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [Place::plan().dns().v4],
        // There are no name servers beyond.
        "resolvConf": "/dev/null",
        // The disk is the host's: how full it is says nothing of the node.
        "localStorageCapacityIsolation": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%" },
        "maxPods": 240,
        // The agents' access logs are read as they are written, and stay the files that they are.
        "containerLogMaxSize": "500Mi",
        // A container that is killed over and over by a test is soon started again.
        "crashLoopBackOff": { "maxContainerRestartPeriod": "3s" },
        "shutdownGracePeriod": "0s",
    })
}

fn proxy_configuration(mode: ProxyMode) -> Value {
    let (v4, v6) = Place::plan().all_pods();
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": "/etc/kubernetes/kube-proxy.kubeconfig" },
        "mode": mode.name(),
        "clusterCIDR": format!("{v4},{v6}"),
        "oomScoreAdj": 0,
        // A cluster this small can have every change at once.
        "nftables": { "minSyncPeriod": "50ms" },
        "iptables": { "minSyncPeriod": "50ms" },
        // These settings are the whole host's.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    })
}

fn network_configuration(number: u8) -> Value {
    let (v4, v6) = Place::plan().pods(number);
    json!({
        "cniVersion": "0.4.0",
        "name": "mesh-cluster",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{ "subnet": v4 }], [{ "subnet": v6 }]],
                    "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}
