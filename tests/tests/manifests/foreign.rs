//! Manifests that were not written for the testbed: workload kinds, lists, configuration, hooks, odd names.

use std::net::SocketAddr;

use mesh_tests::trial::{Expect::Answer, Outcome, eventually, namespace};

use super::{TIMEOUT, cluster};

/// A shop in the manner of the usual demonstrations: a Deployment, a StatefulSet with its headless Service, a Job,
/// configuration by every way, an init container that waits, probes, resources and what else is ignored here.
const SHOP: &str = "
# a comment before the first document
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: front-end, namespace: shop}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: front-end, namespace: shop}, data: {BACKEND: 'orders.shop.svc.cluster.local:5432', greeting.txt: hello}}
- {apiVersion: v1, kind: Secret, metadata: {name: key, namespace: shop}, type: Opaque, stringData: {token: s3cret}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: front-end.v2
  namespace: shop
  labels: {app.kubernetes.io/name: front-end, app.kubernetes.io/part-of: shop}
spec:
  replicas: 2
  revisionHistoryLimit: 3
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app.kubernetes.io/name: front-end}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: front-end}
      annotations: {prometheus.io/scrape: 'true'}
    spec:
      serviceAccountName: front-end
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001}
      initContainers:
      - name: wait-for-orders
        image: busybox:1.36
        command: [sh, -c, 'until mesh-echo client tcp \"$BACKEND\"; do sleep 0.2; done']
        envFrom: [{configMapRef: {name: front-end}}]
      containers:
      - name: front-end
        image: registry.example/front-end:2.0
        imagePullPolicy: IfNotPresent
        command: [mesh-echo]
        args: [server, --http, $(PORT), --tcp, '9000']
        env:
        - {name: PORT, value: '8079'}
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: TOKEN, valueFrom: {secretKeyRef: {name: key, key: token}}}
        ports: [{name: http, containerPort: 8079, protocol: TCP}]
        resources: {limits: {cpu: 300m, memory: 1000Mi}, requests: {cpu: 100m, memory: 300Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [all]}, readOnlyRootFilesystem: true}
        volumeMounts: [{name: config, mountPath: /etc/front-end, readOnly: true}, {name: tmp, mountPath: /scratch}]
        livenessProbe: {httpGet: {path: /healthz, port: http}, initialDelaySeconds: 1, periodSeconds: 2}
        readinessProbe: {httpGet: {path: /healthz, port: 8079, httpHeaders: [{name: x-probe, value: 'yes'}]}, periodSeconds: 1}
      volumes:
      - {name: config, configMap: {name: front-end}}
      - {name: tmp, emptyDir: {}}
      tolerations: [{operator: Exists}]
      affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
---
kind: Service
apiVersion: v1
metadata: {name: front-end, namespace: shop}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  ports: [{port: 80, targetPort: http, name: web, appProtocol: http}, {port: 9000, name: raw}]
  selector: {app.kubernetes.io/name: front-end}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: orders-db, namespace: shop}
spec:
  serviceName: orders
  replicas: 2
  selector: {matchLabels: {name: orders-db}}
  template:
    metadata: {labels: {name: orders-db}}
    spec:
      containers:
      - name: db
        image: mongo
        command: [/bin/sh, -c]
        args: ['exec mesh-echo server --tcp 5432 --speak-first']
        ports: [{name: db, containerPort: 5432}]
        readinessProbe: {tcpSocket: {port: db}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {clusterIP: None, selector: {name: orders-db}, ports: [{port: 5432, name: db}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: shop}
spec:
  backoffLimit: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: shop/migrate, command: ['true']}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: left-to-the-cni, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
...
";

/// Issue 2: manifests nobody here wrote come up, enrolled by their namespace's label, and serve.
#[test]
fn manifests_from_elsewhere_come_up_and_serve() {
    let cluster = cluster();
    cluster.put("shop-namespace", namespace("shop", ("mesh.internal/mode", "enabled")));
    cluster.write_raw("shop", SHOP);
    let names = ["front-end.v2-0", "front-end.v2-1", "orders-db-0", "orders-db-1"];
    for name in names {
        cluster.bed().wait_ready("shop", name, TIMEOUT).unwrap();
        cluster.bed().wait_wired("shop", name, TIMEOUT).unwrap();
    }
    cluster.expect(&[
        ("shop/orders-db-0", "svc/shop/front-end:9000", Answer),
        ("shop/front-end.v2-0", "shop/orders-db-1:5432", Answer),
    ]);
    for address in cluster.service("shop/front-end", 80) {
        let outcome = cluster.call("shop/orders-db-0", "http", address, &[]);
        let answer = outcome.answer();
        assert_eq!(answer.peer, address);
        assert!(answer.text.contains("Hostname=front-end.v2-"), "{answer:?}");
    }
    // Stable names of the StatefulSet, by way of the cluster's DNS.
    for index in 0..2 {
        let name = format!("orders-db-{index}.orders:5432");
        let answer = eventually(&format!("{name} is found"), TIMEOUT, || {
            match cluster.tcp("shop/front-end.v2-1", &name) {
                Outcome::Answered(answer) => Some(answer),
                Outcome::Failed(_) => None,
            }
        });
        let addresses = cluster.pod(&format!("shop/orders-db-{index}")).addresses;
        assert!(addresses.contains(&answer.peer.ip()), "{answer:?}");
    }
    let environment = cluster.run_in("shop/front-end.v2-0", &["env"]);
    let address = cluster.pod("shop/front-end.v2-0").addresses[0];
    assert!(
        environment.contains("TOKEN=s3cret") && environment.contains(&format!("POD_IP={address}")),
        "{environment}"
    );
    assert_eq!(
        cluster.run_in("shop/front-end.v2-0", &["cat", "/etc/front-end/greeting.txt"]).trim(),
        "hello"
    );
    eventually("the job succeeds", TIMEOUT, || {
        let pod = cluster.bed().pod("shop", "migrate-0").ok()?;
        (pod.phase == "Succeeded").then_some(())
    });
}

/// DESIGN 6: scaling, a changed template and removal are followed while everything runs.
#[test]
fn a_deployment_is_scaled_changed_and_removed() {
    let cluster = cluster();
    let deployment = |replicas: u32, port: u16| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, namespace: scale}}, spec: {{replicas: {replicas},
               selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web, mesh.internal/mode: enabled}}}},
               spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: web, command: [mesh-echo, server, --tcp, '{port}']}}]}}}}}}}}"
        )
    };
    let wait = |name: &str| {
        cluster.bed().wait_ready("scale", name, TIMEOUT).unwrap();
        cluster.bed().wait_wired("scale", name, TIMEOUT).unwrap()
    };
    cluster.put("scale", deployment(1, 8080));
    wait("web-0");
    cluster.put("scale", deployment(2, 8080));
    wait("web-1");
    cluster.expect(&[("scale/web-0", "scale/web-1:8080", Answer)]);
    let names = ["scale/web-0", "scale/web-1"];
    let before = names.map(|name| cluster.pod(name).uid);
    cluster.put("scale", deployment(2, 9090));
    for name in names {
        eventually("the pods are replaced", TIMEOUT, || {
            cluster.try_pod(name).filter(|pod| !before.contains(&pod.uid) && pod.ready)
        });
    }
    wait("web-0");
    wait("web-1");
    cluster.expect(&[("scale/web-0", "scale/web-1:9090", Answer)]);
    cluster.remove("scale");
    for name in ["web-0", "web-1"] {
        cluster.bed().wait_gone("scale", name, TIMEOUT).unwrap();
    }
}

/// DESIGN 6: a pod without a namespace is in `default`, one with an odd name and a given uid keeps both.
#[test]
fn names_with_dots_and_given_uids_are_kept() {
    let cluster = cluster();
    let uid = "0f6a1c9e-1111-4222-8333-abcdefabcdef";
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: api.v1.example, uid: {uid}}}, spec: {{containers: [{{name: c, command: [mesh-echo, server, --tcp, '8080']}}]}}}}"
    );
    cluster.put("dots", pod);
    cluster.bed().wait_wired("default", "api.v1.example", TIMEOUT).unwrap();
    let seen = cluster.pod("default/api.v1.example");
    assert_eq!(seen.uid, uid);
    for ip in seen.addresses {
        let outcome = cluster.tcp("default/api.v1.example", SocketAddr::new(ip, 8080));
        assert_eq!(outcome.answer().word("peer").parse::<SocketAddr>().unwrap().ip(), ip);
    }
}
