//! Load balancers that translate a Service's address when a socket connects: where one comes before the
//! mesh, the mesh sees a pod's address and not which Service was meant (`VIPHidden`).

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::seen::{Seen, name_of};
use super::{Checked, Verdict};

/// MESH-C014.
pub(super) fn balancers(seen: &Seen) -> Checked {
    let mut verdict = Verdict::ok("none was found");
    for config in seen.cilium.as_deref()? {
        if let Some(why) = cilium(config) {
            verdict.fail(
                format!(
                    "Cilium translates Services at the socket in every pod (ConfigMap {}: {why})",
                    name_of(&config.metadata)
                ),
                "set socketLB.hostNamespaceOnly=true in Cilium's values, and restart its agents",
            );
        }
    }
    for config in seen.felix.as_deref()? {
        if calico(config) {
            verdict.fail(
                format!("Calico translates Services at the socket (FelixConfiguration {})", config["metadata"]["name"].as_str().unwrap_or_default()),
                "set spec.bpfConnectTimeLoadBalancing: Disabled in the FelixConfiguration, or use its other data path",
            );
        }
    }
    Ok(verdict)
}

/// Which setting makes Cilium do it, if it does.
fn cilium(config: &ConfigMap) -> Option<String> {
    let value = |key: &str| config.data.as_ref().and_then(|data| data.get(key)).map(String::as_str);
    if value("bpf-lb-sock-hostns-only") == Some("true") {
        return None;
    }
    let on: [(&str, &[&str]); 3] = [
        ("kube-proxy-replacement", &["true", "strict"]),
        ("bpf-lb-sock", &["true"]),
        ("enable-host-reachable-services", &["true"]),
    ];
    on.iter().find_map(|(key, values)| {
        let found = value(key)?;
        values.contains(&found).then(|| format!("{key}: {found}"))
    })
}

fn calico(config: &Value) -> bool {
    let spec = &config["spec"];
    let connecting = &spec["bpfConnectTimeLoadBalancing"];
    spec["bpfEnabled"] == true
        && connecting != "Disabled"
        && spec["bpfConnectTimeLoadBalancingEnabled"] != false
}
