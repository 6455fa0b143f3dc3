//! What runs in a pod and how: environment, files, order, restarts, probes.

use std::time::Duration;

use mesh_tests::testbed::Testbed;

use super::{SOON, printed};

fn up(manifest: &str) -> Testbed {
    Testbed::builder().manifest(manifest).mesh(false).start().unwrap()
}

fn log(testbed: &Testbed, process: &str) -> String {
    std::fs::read_to_string(testbed.layout().log(process)).unwrap_or_default()
}

#[test]
fn containers_see_their_names_files_and_variables() {
    let testbed = up("
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: n}
data: {color: green, greeting.txt: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: n, labels: {app: x}}
spec:
  nodeName: one
  serviceAccountName: me
  securityContext: {runAsUser: 1234, runAsGroup: 2345}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: scratch, emptyDir: {}}
  containers:
  - name: c
    command: [sh, -c, 'echo \"$COLOR $IP $WHO\" > /scratch/said; exec sleep infinity']
    env:
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: WHO, value: '$(NAME)/$(MISSING)'}
    volumeMounts:
    - {name: settings, mountPath: /etc/app/settings, readOnly: true}
    - {name: scratch, mountPath: /scratch}
");
    let pod = testbed.wait_ready("n", "p", SOON).unwrap();
    let shell = |script: &str| printed(&testbed.exec("n", "p", &["sh", "-c", script]).unwrap());
    testbed
        .wait_for("the container to have written", SOON, || {
            let said =
                testbed.exec("n", "p", &["cat", "/scratch/said"]).map_err(|error| error.to_string())?;
            let whole = said.status.success() && said.stdout.ends_with(b"\n");
            if whole { Ok(()) } else { Err("nothing yet".to_owned()) }
        })
        .unwrap();
    assert_eq!(shell("cat /scratch/said"), format!("green {} p/$(MISSING)\n", pod.ip4.unwrap()));
    assert_eq!(
        shell("cat /etc/app/settings/greeting.txt; hostname; cat /proc/self/cgroup | grep -c ^0::/.*pod"),
        "hellop\n1\n"
    );
    assert!(
        shell("grep -h . /etc/resolv.conf")
            .contains("search n.svc.cluster.local svc.cluster.local cluster.local")
    );
    testbed
        .wait_for("the container to have become a sleep of its user", SOON, || {
            let script = "grep -h ^Uid /proc/$(pgrep -u 1234 -n sleep)/status | cut -f2";
            let uid = shell(script).trim().to_owned();
            if uid == "1234" { Ok(()) } else { Err(uid) }
        })
        .unwrap();
    assert!(
        !std::path::Path::new("/scratch").exists() && !std::path::Path::new("/etc/app").exists(),
        "the host is untouched"
    );
}

#[test]
fn init_containers_come_first_and_failures_are_restarted() {
    let testbed = up("
apiVersion: v1
kind: Pod
metadata: {name: ordered, namespace: n}
spec:
  nodeName: one
  initContainers:
  - {name: first, command: [sh, -c, 'sleep 0.3; date +%s%N']}
  - {name: second, command: [sh, -c, 'date +%s%N']}
  containers: [{name: main, command: [sh, -c, 'date +%s%N; exec sleep infinity']}]
---
apiVersion: v1
kind: Pod
metadata: {name: crashing, namespace: n}
spec: {nodeName: one, containers: [{name: main, command: [sh, -c, 'echo run; exit 3']}]}
---
apiVersion: v1
kind: Pod
metadata: {name: once, namespace: n}
spec: {nodeName: one, restartPolicy: Never, containers: [{name: main, command: ['true']}]}
");
    testbed.wait_ready("n", "ordered", SOON).unwrap();
    let time = |name: &str| {
        let read = || {
            log(&testbed, &format!("n.ordered.{name}"))
                .trim()
                .parse::<u64>()
                .map_err(|error| error.to_string())
        };
        testbed.wait_for("the container's log", SOON, read).unwrap()
    };
    let (first, second, main) = (time("first"), time("second"), time("main"));
    assert!(first < second && second < main, "{first} {second} {main}");

    let runs = || log(&testbed, "n.crashing.main").lines().count();
    testbed
        .wait_for("a restart", SOON, || if runs() == 2 { Ok(()) } else { Err(runs().to_string()) })
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(runs(), 2, "the second restart waits");
    assert!(testbed.pod("n", "crashing").unwrap().message.contains("status 3"));
    let succeeded = || match testbed.pod("n", "once") {
        Ok(pod) if pod.phase == "Succeeded" => Ok(()),
        other => Err(format!("{other:?}")),
    };
    testbed.wait_for("the pod to have succeeded", SOON, succeeded).unwrap();
}

#[test]
fn probes_start_hold_back_and_kill() {
    let testbed = up("
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: n}
spec:
  nodeName: one
  containers:
  - name: c
    command: [mesh-echo, server, --http=8080]
    ports: [{name: health, containerPort: 8080}]
    startupProbe: {tcpSocket: {port: health}, periodSeconds: 1, failureThreshold: 20}
    readinessProbe: {exec: {command: ['true']}, periodSeconds: 1}
    livenessProbe: {httpGet: {path: /healthz, port: health}, periodSeconds: 1, failureThreshold: 2}
---
apiVersion: v1
kind: Pod
metadata: {name: never, namespace: n}
spec:
  nodeName: one
  containers:
  - {name: c, command: [sleep, infinity], readinessProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: n}
spec: {nodeName: one, containers: [{name: c, command: [mesh-echo, server, --tcp=7000], readinessProbe: {grpc: {port: 7000}, periodSeconds: 1, failureThreshold: 1}}]}
");
    testbed.wait_ready("n", "p", SOON).unwrap();
    let starts = || log(&testbed, "n.p.c").lines().filter(|line| line.starts_with("serving")).count();
    testbed
        .wait_for("its first words", SOON, || if starts() == 1 { Ok(()) } else { Err(starts().to_string()) })
        .unwrap();
    testbed.exec("n", "p", &["mesh-echo", "client", "http", "127.0.0.1:8080", "--send", "/fail"]).unwrap();
    testbed
        .wait_for("a restart", SOON, || if starts() == 2 { Ok(()) } else { Err(starts().to_string()) })
        .unwrap();
    testbed.wait_ready("n", "p", SOON).unwrap();
    assert!(!testbed.pod("n", "never").unwrap().ready);
    let message = || {
        let message = testbed.pod("n", "plain").unwrap().message;
        if message.contains("Readiness probe: grpc") { Ok(()) } else { Err(message) }
    };
    testbed.wait_for("the gRPC probe to fail on a server that does not speak it", SOON, message).unwrap();
}
