//! Jobs, init containers, StatefulSets and headless Services, both families.

use mesh_tests::cluster::trial::{TIMEOUT, until};

use crate::scene::mesh;

const WORKLOADS: &str = include_str!("workloads.yaml");

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn jobs_init_containers_and_stateful_sets_are_in_the_mesh() {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Preferred}, namespaces: [{names: [workloads], mtls: Required}]}");
    let scene = mesh.scene("workloads", WORKLOADS);
    scene.wait_enrolled("pod/server");

    // A Job on each node: its init container calls as soon as it can, which fails while the pod is pending and succeeds
    // once it is wired (SEMANTICS 1.1); the others never fail, and the Job ends, so nothing of ours keeps its pod.
    for node in ["node-1", "node-2"] {
        let job = format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: at-{node}, namespace: workloads}}\nspec:\n  \
             backoffLimit: 0\n  template:\n    spec:\n      nodeName: {node}\n      restartPolicy: Never\n      \
             initContainers:\n      - {{name: first, image: {image}, \
             command: [mesh-echo, client, --ipv6, --first, --count=5000, --interval=20, tcp, 'server:9000']}}\n      containers:\n      - {{name: main, \
             image: {image}, command: [mesh-echo, client, --ipv4, --count=3, --timeout=20000, tcp, 'server:9000']}}\n",
            image = crate::scene::IMAGE
        );
        mesh.cluster.kubectl().apply(&job).expect("it is a Job");
        let done = mesh.try_ask(&[
            "--namespace=workloads",
            "wait",
            &format!("job/at-{node}"),
            "--for=condition=Complete",
            TIMEOUT,
        ]);
        let said = |container: &str| {
            let asked = ["--namespace=workloads", "logs", &format!("job/at-{node}"), "-c", container];
            mesh.try_ask(&asked).unwrap_or_else(|error| error)
        };
        let (first, main) = (said("first"), said("main"));
        assert!(done.is_ok(), "{done:?}\n{first}\n{main}");
        println!(
            "{node}: the init container's calls: {} failed, then answered",
            first.matches("after ").count()
        );
        assert_eq!(main.matches("answer:").count(), 3, "{main}");
    }

    // A StatefulSet: each by its own name, without a Service's address between.
    let set = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: peers, namespace: workloads}}\nspec: {{clusterIP: None, \
         ipFamilyPolicy: RequireDualStack, selector: {{app: peers}}, ports: [{{name: tcp, port: 9000}}]}}\n---\n\
         apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: peers, namespace: workloads}}\nspec:\n  \
         serviceName: peers\n  replicas: 2\n  podManagementPolicy: Parallel\n  selector: {{matchLabels: {{app: peers}}}}\n  \
         template:\n    metadata: {{labels: {{app: peers}}}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      \
         topologySpreadConstraints: [{{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, \
         labelSelector: {{matchLabels: {{app: peers}}}}}}]\n      containers:\n      - {{name: main, image: {image}, \
         command: [mesh-echo, server, --tcp=9000, --http=8080], readinessProbe: {{tcpSocket: {{port: 9000}}, \
         periodSeconds: 1}}}}\n",
        image = crate::scene::IMAGE
    );
    mesh.cluster.kubectl().apply(&set).expect("it is a StatefulSet");
    scene.ask(&["rollout", "status", "statefulset/peers", TIMEOUT]);
    for (from, to) in [("peers-0", "peers-1"), ("peers-1", "peers-0")] {
        for family in ["-4", "-6"] {
            let name = format!("{to}.peers:9000");
            let said = scene.answered(from, &["mesh-echo", "client", family, "tcp", &name]);
            assert!(said.contains(&format!("host={to}")), "{said}");
            let said = scene.answered(from, &["mesh-echo", "client", family, "tcp", "server:9000"]);
            assert!(said.contains("host=server"), "{said}");
            scene.answered(from, &["mesh-echo", "client", family, "udp", "server:9000"]);
        }
    }

    // One that is deleted comes back under its name with another address, and is reached there.
    let before = scene.value("pod/peers-1", "{.status.podIP} {.metadata.uid}");
    scene.ask(&["delete", "pod", "peers-1", "--wait=true"]);
    until("peers-1 to be another", || {
        let now = mesh.try_ask(&[
            "--namespace=workloads",
            "get",
            "pod/peers-1",
            "--output=jsonpath={.status.podIP} {.metadata.uid}",
        ])?;
        if now != before && now.contains('.') { Ok(()) } else { Err(now) }
    });
    scene.wait_enrolled("pod/peers-1");
    scene.answered("peers-0", &["mesh-echo", "client", "-4", "tcp", "peers-1.peers:9000"]);

    // A pod that is not in the mesh is refused, on either node: the server's namespace requires mTLS.
    for node in ["node-1", "node-2"] {
        let name = format!("stranger-{node}");
        let stranger = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: workloads, \
             labels: {{mesh.internal/mode: disabled}}}}\nspec: {{nodeName: {node}, \
             terminationGracePeriodSeconds: 1, containers: [{{name: main, image: {image}, \
             command: [mesh-echo, server, --tcp=9000]}}]}}\n",
            image = crate::scene::IMAGE
        );
        mesh.cluster.kubectl().apply(&stranger).expect("it is a pod");
        scene.wait(&format!("pod/{name}"), "condition=Ready");
        for family in ["-4", "-6"] {
            until(&format!("{name} {family} to be refused"), || {
                let output = scene.run(&name, &["mesh-echo", "client", family, "tcp", "server:9000"]);
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(!output.status.success(), "{name} {family} is answered: {said}");
                if said.contains("ECONNREFUSED") { Ok(()) } else { Err(said) }
            });
        }
    }
}
