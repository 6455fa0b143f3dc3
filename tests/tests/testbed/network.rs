//! Addresses, Services and names, in both layouts, on one node and between two.

use mesh_tests::{node::Cni, testbed::Testbed};

use super::{SOON, printed};

const CLUSTER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: n, labels: {app: server}}
spec:
  nodeName: one
  hostname: server
  subdomain: headless
  containers: [{name: c, command: [mesh-echo, server, --tcp=7000, --udp=7000, --http=8080], readinessProbe: {tcpSocket: {port: 7000}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Pod
metadata: {name: near, namespace: n}
spec: {nodeName: one, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: n}
spec: {nodeName: two, containers: [{name: c, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: n}
spec:
  type: NodePort
  selector: {app: server}
  ports: [{name: tcp, port: 80, targetPort: 7000, nodePort: 30080}, {name: udp, port: 80, targetPort: 7000, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: n}
spec: {clusterIP: None, selector: {app: server}, ports: [{name: tcp, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: n}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: n}
spec: {type: ExternalName, externalName: web.n.svc.cluster.local}
";

fn up(cni: Cni) -> Testbed {
    let testbed = Testbed::builder().manifest(CLUSTER).cni(cni).mesh(false).start().unwrap();
    testbed.wait_all_ready(SOON).unwrap();
    // Every node learns of an endpoint a moment after its pod is ready.
    for from in ["near", "far"] {
        let answers = || {
            if call(&testbed, from, &["tcp", "web:80"]).0 { Ok(()) } else { Err("it does not".to_owned()) }
        };
        testbed.wait_for("the Service to answer", SOON, answers).unwrap();
    }
    testbed
}

fn call(testbed: &Testbed, from: &str, arguments: &[&str]) -> (bool, String) {
    let argv = [&["mesh-echo", "client"], arguments].concat();
    let output = testbed.exec("n", from, &argv).unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Calls the server from everywhere, by address and by Service, over both families and protocols.
fn everything_reaches_everything(cni: Cni) {
    let testbed = up(cni);
    let server = testbed.pod("n", "server").unwrap();
    let (ip4, ip6) = (server.ip4.unwrap(), server.ip6.unwrap());
    for from in ["near", "far", "server"] {
        let client = testbed.pod("n", from).unwrap();
        let by_address = [
            (format!("{ip4}:7000"), client.ip4.unwrap().to_string()),
            (format!("[{ip6}]:7000"), format!("[{}]", client.ip6.unwrap())),
        ];
        for (target, source) in by_address {
            for protocol in ["tcp", "udp"] {
                let (ok, text) = call(&testbed, from, &[protocol, &target]);
                assert!(
                    ok && text.contains(&format!("answer: peer={source}:")),
                    "{from} {protocol} {target}: {text}"
                );
            }
        }
        for family in ["-4", "-6"] {
            for (protocol, target) in
                [("tcp", "web:80"), ("udp", "web.n:80"), ("tcp", "alias:80"), ("tcp", "server.headless:7000")]
            {
                let (ok, text) = call(&testbed, from, &[protocol, family, target]);
                assert!(ok && text.contains("host=server"), "{from} {protocol} {family} {target}: {text}");
            }
        }
    }
    // Through a Service the client's address is kept, unless it is the server itself.
    let (_, text) = call(&testbed, "far", &["tcp", "-4", "web:80"]);
    assert!(text.contains(&format!("peer={}:", testbed.pod("n", "far").unwrap().ip4.unwrap())), "{text}");
}

#[test]
fn everything_reaches_everything_routed() {
    everything_reaches_everything(Cni::Ptp);
}

#[test]
fn everything_reaches_everything_bridged() {
    everything_reaches_everything(Cni::Bridge);
}

#[test]
fn services_refuse_without_endpoint_and_on_other_ports() {
    let testbed = up(Cni::Ptp);
    for family in ["-4", "-6"] {
        for target in ["empty:80", "web:81"] {
            // At once: a refusal that needs a second SYN, after a second, would run into the timeout.
            let (ok, text) = call(&testbed, "near", &["tcp", family, target, "--timeout", "900"]);
            assert!(!ok && text.contains("connect: ECONNREFUSED"), "{family} {target}: {text}");
        }
    }
    let (ok, text) = call(&testbed, "near", &["tcp", "nowhere:80"]);
    assert!(!ok && text.starts_with("resolve:"), "{text}");
}

#[test]
fn node_ports_are_open_on_every_node() {
    let testbed = up(Cni::Ptp);
    let services =
        std::fs::read_to_string(testbed.layout().run().join("kubelet/services/n.web.yaml")).unwrap();
    assert!(services.contains("nodePort: 30080"), "{services}");
    for node in ["one", "two"] {
        let text = std::fs::read_to_string(testbed.layout().run().join(format!("kubelet/nodes/{node}.yaml")))
            .unwrap();
        let node: k8s_openapi::api::core::v1::Node = serde_yaml_ng::from_str(&text).unwrap();
        for address in node.status.unwrap().addresses.unwrap() {
            let target = if address.address.contains(':') {
                format!("[{}]:30080", address.address)
            } else {
                format!("{}:30080", address.address)
            };
            let (ok, text) = call(&testbed, "near", &["tcp", &target]);
            assert!(ok && text.contains("host=server"), "{target}: {text}");
        }
    }
    // The node itself reaches Services as well.
    let text = printed(
        &testbed.exec_node("two", &["mesh-echo", "client", "tcp", &service_address(&testbed)]).unwrap(),
    );
    assert!(text.contains("host=server"), "{text}");
}

fn service_address(testbed: &Testbed) -> String {
    let text = std::fs::read_to_string(testbed.layout().overlay("services").join("n.web.yaml")).unwrap();
    let service: k8s_openapi::api::core::v1::Service = serde_yaml_ng::from_str(&text).unwrap();
    format!("{}:80", service.spec.unwrap().cluster_ip.unwrap())
}

#[test]
fn nothing_answers_for_a_service_whose_only_pod_is_not_ready() {
    let testbed = up(Cni::Ptp);
    let not_ready = "
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: n, labels: {app: late}}
spec: {nodeName: one, containers: [{name: c, command: [mesh-echo, server, --tcp=7000, --http=8080], readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: late, namespace: n}
spec: {selector: {app: late}, ports: [{port: 80, targetPort: 7000}]}
";
    testbed.apply(not_ready).unwrap();
    testbed.wait_ready("n", "late", SOON).unwrap();
    let answers = |testbed: &Testbed| call(testbed, "far", &["tcp", "late:80"]).0;
    testbed
        .wait_for("the Service to answer", SOON, || if answers(&testbed) { Ok(()) } else { Err("no".into()) })
        .unwrap();
    assert!(call(&testbed, "late", &["http", "127.0.0.1:8080", "--send", "/fail"]).0);
    testbed
        .wait_for("the Service to refuse", SOON, || {
            if answers(&testbed) { Err("it answers".into()) } else { Ok(()) }
        })
        .unwrap();
    assert!(!testbed.pod("n", "late").unwrap().ready);
}
