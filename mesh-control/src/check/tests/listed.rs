//! Checks on what else is in the cluster.

use serde_json::{Value, json};

use super::{broken, healthy, list, namespace, pod};
use crate::check::enrolled::Enrolment;
use crate::check::{Level, Seen};

const REQUIRED: &str = r#"{ "namespaces": [{ "names": ["bank"], "mtls": "Required" }] }"#;

/// Makes namespace bank ask for proof.
fn require(seen: &mut Seen) {
    let spec: Value = serde_json::from_str(REQUIRED).unwrap();
    seen.mesh_configs =
        Ok(list(&[json!({ "metadata": { "name": "default", "generation": 3 }, "spec": spec })]));
}

#[test]
fn nodes_that_cannot_carry_it() {
    let node = |field: &'static str, value: &'static str| {
        broken("MESH-C003", move |seen| {
            let info = seen.nodes.as_mut().unwrap()[1].status.as_mut().unwrap().node_info.as_mut().unwrap();
            match field {
                "kernel" => info.kernel_version = value.into(),
                "architecture" => info.architecture = value.into(),
                _ => info.operating_system = value.into(),
            }
        })
    };
    let (level, found) = node("kernel", "5.15.0-1051-aws");
    assert!(level == Level::Fail && found.contains("node n2 has kernel 5.15.0-1051-aws"), "{found}");
    assert_eq!(node("kernel", "6.6.1").0, Level::Ok);
    assert_eq!(node("kernel", "custom").0, Level::Warn);
    assert_eq!(node("architecture", "s390x").0, Level::Fail);
    assert_eq!(node("system", "windows").0, Level::Warn);
    assert_eq!(
        broken("MESH-C003", |seen| {
            seen.nodes = Ok(Vec::new());
        })
        .0,
        Level::Fail
    );
}

#[test]
fn other_meshes_are_told_and_shared_namespaces_fail() {
    let (level, found) = broken("MESH-C013", |seen| {
        let mut part = pod("istiod-1", json!({ "app": "istiod" }));
        part["metadata"]["namespace"] = json!("istio-system");
        seen.pods.as_mut().unwrap().extend(list(&[part]));
    });
    assert!(level == Level::Warn && found.contains("Istio runs here (pod istio-system/istiod-1)"), "{found}");
    let shared = |labels: Value| {
        broken("MESH-C013", move |seen| {
            seen.namespaces = Ok(list(&[namespace("bank", labels)]));
        })
    };
    let ours = "mesh.internal/mode";
    let (level, found) = shared(json!({ ours: "enabled", "istio.io/dataplane-mode": "ambient" }));
    assert!(
        level == Level::Fail && found.contains("namespace bank is given to Istio and to this mesh"),
        "{found}"
    );
    assert_eq!(shared(json!({ ours: "enabled", "istio.io/dataplane-mode": "none" })).0, Level::Ok);
    assert_eq!(shared(json!({ ours: "disabled", "istio-injection": "enabled" })).0, Level::Ok);
    let (level, found) = broken("MESH-C013", |seen| {
        let mut with = pod("old", json!({}));
        with["spec"]["containers"][0]["name"] = json!("linkerd-proxy");
        seen.pods = Ok(list(&[with]));
    });
    assert!(level == Level::Fail && found.contains("bank/old has Linkerd's sidecar"), "{found}");
}

#[test]
fn socket_load_balancers_before_us() {
    let cilium = |data: Value| {
        broken("MESH-C014", move |seen| {
            seen.cilium = Ok(list(&[
                json!({ "metadata": { "namespace": "kube-system", "name": "cilium-config" }, "data": data }),
            ]));
        })
    };
    let (level, found) = cilium(json!({ "kube-proxy-replacement": "true" }));
    assert!(
        level == Level::Fail && found.contains("kube-system/cilium-config: kube-proxy-replacement: true"),
        "{found}"
    );
    assert_eq!(
        cilium(json!({ "kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true" })).0,
        Level::Ok
    );
    assert_eq!(cilium(json!({ "bpf-lb-sock": "true" })).0, Level::Fail);
    assert_eq!(cilium(json!({ "kube-proxy-replacement": "false" })).0, Level::Ok);
    let calico = |spec: Value| {
        broken("MESH-C014", move |seen| {
            seen.felix = Ok(vec![json!({ "metadata": { "name": "default" }, "spec": spec })]);
        })
    };
    assert_eq!(calico(json!({ "bpfEnabled": true })).0, Level::Fail);
    assert_eq!(calico(json!({ "bpfEnabled": true, "bpfConnectTimeLoadBalancing": "Disabled" })).0, Level::Ok);
    assert_eq!(calico(json!({ "bpfEnabled": false })).0, Level::Ok);
}

/// NetworkPolicies of namespace bank, where a teller and a vault are enrolled and a stranger is not.
fn policies(specs: &[Value]) -> (Level, String) {
    broken("MESH-C015", |seen| {
        let mut vault = pod("vault", json!({ "app": "vault" }));
        vault["status"]["podIP"] = json!("10.0.1.8");
        let stranger = pod("stranger", json!({ "app": "stranger", "mesh.internal/mode": "disabled" }));
        seen.pods = Ok(list(&[pod("teller", json!({ "app": "teller" })), vault, stranger]));
        let all = specs.iter().enumerate().map(|(number, spec)| {
            json!({ "metadata": { "namespace": "bank", "name": format!("p{number}") }, "spec": spec })
        });
        seen.network_policies = Ok(list(&all.collect::<Vec<_>>()));
    })
}

fn app(name: &str) -> Value {
    json!({ "matchLabels": { "app": name } })
}

#[test]
fn a_policy_that_opens_ports_and_not_the_tunnels_fails_with_the_patch() {
    let tcp = |port: Value| json!([{ "protocol": "TCP", "port": port }]);
    let to_vault =
        |rule: Value| json!({ "podSelector": app("vault"), "policyTypes": ["Ingress"], "ingress": [rule] });
    let (level, found) = policies(&[to_vault(json!({ "ports": tcp(json!(8080)) }))]);
    assert_eq!(level, Level::Fail);
    assert!(
        found.contains(r#"kubectl -n bank patch networkpolicy p0 --type=json -p '[{"op":"add","path":"/spec/ingress/0/ports/-","value":{"port":15008,"protocol":"TCP"}}]'"#),
        "{found}"
    );
    for fine in [
        json!({}),
        json!({ "ports": tcp(json!(15008)) }),
        json!({ "ports": [{ "port": 8080 }, { "port": 15008 }] }),
        json!({ "ports": [{ "port": 15000, "endPort": 15100 }] }),
        json!({ "ports": [{ "protocol": "TCP" }] }),
        json!({ "ports": [{ "protocol": "UDP", "port": 8080 }] }),
        // Nobody of the mesh is meant.
        json!({ "from": [{ "podSelector": app("stranger") }], "ports": tcp(json!(8080)) }),
        json!({ "from": [{ "ipBlock": { "cidr": "192.0.2.0/24" } }], "ports": tcp(json!(8080)) }),
        json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.0.0/24"] } }], "ports": tcp(json!(8080)) }),
        json!({ "from": [{ "namespaceSelector": { "matchLabels": { "team": "shop" } } }], "ports": tcp(json!(8080)) }),
    ] {
        let (level, found) = policies(&[to_vault(fine.clone())]);
        assert_eq!(level, Level::Ok, "{fine}: {found}");
    }
    for bad in [
        json!({ "ports": tcp(json!("http")) }),
        json!({ "from": [{ "podSelector": app("teller") }], "ports": tcp(json!(8080)) }),
        json!({ "from": [{ "namespaceSelector": {} }], "ports": tcp(json!(8080)) }),
        json!({ "from": [{ "ipBlock": { "cidr": "10.0.0.0/24" } }], "ports": tcp(json!(8080)) }),
    ] {
        assert_eq!(policies(&[to_vault(bad.clone())]).0, Level::Fail, "{bad}");
    }
}

#[test]
fn a_rule_of_another_policy_makes_up_for_it_only_where_it_covers_all() {
    let narrow = json!({ "podSelector": app("vault"), "ingress": [{ "ports": [{ "port": 8080 }] }] });
    let mesh = |selector: Value, from: Value| json!({ "podSelector": selector, "ingress": [{ "from": from, "ports": [{ "port": 15008 }] }] });
    assert_eq!(policies(&[narrow.clone(), mesh(json!({}), json!([{ "podSelector": {} }]))]).0, Level::Ok);
    assert_eq!(
        policies(&[narrow.clone(), mesh(app("teller"), json!([{ "podSelector": {} }]))]).0,
        Level::Fail
    );
    assert_eq!(
        policies(&[narrow, mesh(json!({}), json!([{ "podSelector": app("stranger") }]))]).0,
        Level::Fail
    );
}

#[test]
fn the_way_out_counts_as_well_but_not_for_names() {
    let egress =
        |rule: Value| json!({ "podSelector": app("teller"), "policyTypes": ["Egress"], "egress": [rule] });
    let (level, found) =
        policies(&[egress(json!({ "to": [{ "podSelector": app("vault") }], "ports": [{ "port": 8080 }] }))]);
    assert!(level == Level::Fail && found.contains("/spec/egress/0/ports/-"), "{found}");
    assert_eq!(
        policies(&[egress(json!({ "ports": [{ "port": 53 }, { "protocol": "UDP", "port": 53 }] }))]).0,
        Level::Ok
    );
    let closed = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    assert_eq!(policies(&[closed]).0, Level::Ok, "what is closed altogether is meant to be");
}

#[test]
fn what_the_api_server_calls_must_not_ask_for_proof() {
    let service = json!({ "metadata": { "namespace": "bank", "name": "hooks" }, "spec": { "selector": { "app": "teller" } } });
    let reference = json!({ "namespace": "bank", "name": "hooks" });
    let hook = json!({ "metadata": { "name": "h" }, "webhooks": [{
        "name": "check.bank", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": { "service": reference } }] });
    let part = json!({ "metadata": { "name": "v1.bank" }, "spec": {
        "service": reference, "groupPriorityMinimum": 1, "versionPriority": 1 } });
    let (level, found) = broken("MESH-C016", |seen| {
        seen.services = Ok(list(std::slice::from_ref(&service)));
        seen.validating = Ok(list(std::slice::from_ref(&hook)));
        seen.mutating = Ok(list(std::slice::from_ref(&hook)));
        seen.api_services = Ok(list(&[part]));
        require(seen);
    });
    assert_eq!(level, Level::Fail);
    for what in ["validating webhook check.bank", "mutating webhook check.bank", "APIService v1.bank"] {
        assert!(found.contains(&format!("{what} is served by pod bank/teller")), "{found}");
    }
    let preferred = broken("MESH-C016", |seen| {
        seen.services = Ok(list(&[service]));
        seen.validating = Ok(list(&[hook]));
    });
    assert_eq!(preferred.0, Level::Ok);
}

#[test]
fn scrapers_outside_the_mesh() {
    let with = |inside: bool, scraped: bool, required: bool| {
        broken("MESH-C017", move |seen| {
            let mut scraper = pod(
                "prometheus-0",
                json!({ "mesh.internal/mode": if inside { "enabled" } else { "disabled" } }),
            );
            scraper["spec"]["containers"][0]["image"] = json!("quay.example/prometheus/prometheus:v3");
            let mut target = pod("teller", json!({ "app": "teller" }));
            target["metadata"]["annotations"] = json!({ "prometheus.io/scrape": scraped.to_string() });
            seen.pods = Ok(list(&[scraper, target]));
            if required {
                require(seen);
            }
        })
    };
    let (level, found) = with(false, true, true);
    assert!(
        level == Level::Warn
            && found.contains("bank/prometheus-0 looks like a scraper")
            && found.contains("bank/teller"),
        "{found}"
    );
    for fine in [with(true, true, true), with(false, false, true), with(false, true, false)] {
        assert_eq!(fine.0, Level::Ok);
    }
}

#[test]
fn monitors_say_what_is_scraped() {
    let with = |kind: &'static str, namespace: &'static str, selector: &'static str| {
        broken("MESH-C017", move |seen| {
            let mut scraper =
                pod("scraper", json!({ "app": "prometheus", "mesh.internal/mode": "disabled" }));
            scraper["metadata"]["namespace"] = json!("monitoring");
            seen.pods.as_mut().unwrap().extend(list(&[scraper]));
            let service = json!({ "metadata": { "namespace": "bank", "name": "t", "labels": { "scrape": "yes" } }, "spec": { "selector": { "app": "teller" } } });
            seen.services = Ok(list(&[service]));
            let (key, value) = selector.split_once('=').unwrap();
            seen.monitors = Ok(vec![
                json!({ "kind": kind, "metadata": { "namespace": "monitoring", "name": "m" },
            "spec": { "namespaceSelector": { "matchNames": [namespace] }, "selector": { "matchLabels": { key: value } } } }),
            ]);
            require(seen);
        })
    };
    assert_eq!(with("ServiceMonitor", "bank", "scrape=yes").0, Level::Warn);
    assert_eq!(with("ServiceMonitor", "shop", "scrape=yes").0, Level::Ok);
    assert_eq!(with("ServiceMonitor", "bank", "app=teller").0, Level::Ok);
    assert_eq!(with("PodMonitor", "bank", "app=teller").0, Level::Warn);
}

#[test]
fn pods_that_are_root_on_their_node() {
    let with = |field: &'static str, value: Value| {
        broken("MESH-C018", move |seen| {
            let mut one = pod("teller", json!({}));
            match field {
                "volumes" => one["spec"]["volumes"] = value,
                "context" => one["spec"]["containers"][0]["securityContext"] = value,
                _ => {
                    one["spec"]["hostPID"] = json!(true);
                    one["spec"]["containers"][0]["securityContext"] = value;
                }
            }
            seen.pods = Ok(list(&[one]));
        })
    };
    assert_eq!(with("context", json!({ "privileged": true })).0, Level::Warn);
    assert_eq!(with("context", json!({ "capabilities": { "add": ["CAP_SYS_ADMIN"] } })).0, Level::Warn);
    assert_eq!(
        with("context", json!({ "capabilities": { "add": ["SYS_PTRACE", "NET_ADMIN"] } })).0,
        Level::Ok
    );
    assert_eq!(with("pid", json!({ "capabilities": { "add": ["SYS_PTRACE"] } })).0, Level::Warn);
    assert_eq!(with("volumes", json!([{ "name": "v", "hostPath": { "path": "/" } }])).0, Level::Warn);
    assert_eq!(with("volumes", json!([{ "name": "v", "hostPath": { "path": "/var/log" } }])).0, Level::Ok);
}

#[test]
fn proof_is_asked_for_by_the_floor_or_by_every_rule() {
    let asks = |config: Value, policies: &[Value]| {
        let mut seen = healthy();
        seen.mesh_configs = Ok(list(&[json!({ "metadata": { "name": "default" }, "spec": config })]));
        let all = policies
            .iter()
            .map(|spec| json!({ "metadata": { "namespace": "bank", "name": "p" }, "spec": spec }));
        seen.access_policies = Ok(list(&all.collect::<Vec<_>>()));
        let enrolment = Enrolment::of(&seen).unwrap();
        let pod = enrolment.pods().next().unwrap();
        enrolment.requires_proof(pod)
    };
    let policy = |rules: Value, mode: &str| json!({ "selector": {}, "mode": mode, "ingress": rules });
    let required = json!([{ "mtls": "Required" }]);
    assert!(!asks(json!({}), &[]));
    assert!(asks(json!({ "defaults": { "mtls": "Required" } }), &[]));
    assert!(!asks(
        json!({ "defaults": { "mtls": "Required" }, "namespaces": [{ "names": ["bank"], "mtls": "Preferred" }] }),
        &[]
    ));
    assert!(asks(
        json!({ "namespaces": [{ "names": ["bank"], "mtls": "Preferred" }, { "names": ["bank"], "mtls": "Required" }] }),
        &[]
    ));
    assert!(asks(json!({}), &[policy(required.clone(), "Enforce")]));
    assert!(!asks(json!({}), &[policy(required.clone(), "Audit")]));
    assert!(!asks(json!({}), &[policy(required, "Enforce"), policy(json!([{}]), "Enforce")]));
    assert!(!asks(json!({}), &[policy(json!([{ "mtls": "Required" }, { "mtls": "Preferred" }]), "Enforce")]));
}
