//! SEMANTICS 3: every way to probe, and hooks.

use mesh_tests::{
    socket::plaza::SOON,
    trial::{Expect::Refused, echo, eventually},
};

use super::{cluster, passed};

/// SEMANTICS 3: HTTP and TCP probes pass under default deny with no rule, by number and by name of the port.
#[test]
fn http_and_tcp_probes_pass_under_default_deny() {
    let cluster = cluster();
    let before = passed("node-1");
    cluster.put_all(
        "probed",
        &[
            &echo("probed", "http")
                .serve("--http 8090")
                .container("readinessProbe: {httpGet: {path: /healthz, port: 8090}, periodSeconds: 1}"),
            &echo("probed", "tcp").container("readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}"),
            &echo("probed", "named")
                .serve("--http 8090")
                .named("health", 8090)
                .container("livenessProbe: {httpGet: {path: /healthz, port: health}, periodSeconds: 1}")
                .container("readinessProbe: {httpGet: {path: /healthz, port: health}, periodSeconds: 1}"),
            &echo("probed", "startup")
                .container("startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 30}"),
            &echo("probed", "client"),
        ],
    );
    // They are ready: `put_all` waits for that. Nobody else gets in.
    cluster.expect(&[
        ("probed/client", "probed/http:8090", Refused("DefaultDenied")),
        ("probed/client", "probed/tcp:8080", Refused("DefaultDenied")),
    ]);
    eventually("the kernel counts them", SOON, || (passed("node-1") - before >= 4.0).then_some(()));
}

/// SEMANTICS 3: a probe of a port decides readiness as without a mesh, failures included.
#[test]
fn a_failing_probe_still_fails() {
    let cluster = cluster();
    let probe =
        "readinessProbe: {httpGet: {path: /healthz, port: 8090}, periodSeconds: 1, failureThreshold: 1}";
    cluster.put_all("failing", &[&echo("failing", "server").serve("--http 8090").container(probe)]);
    for (path, ready) in [("/fail", false), ("/recover", true)] {
        let _ = cluster.call("failing/server", "http", "127.0.0.1:8090", &["--send", path]);
        cluster.wait_ready("failing/server", ready);
    }
}

/// SEMANTICS 3: a gRPC probe reaches its port. The server here speaks no gRPC, so the probe fails, but not by refusal.
#[test]
fn a_grpc_probe_reaches_its_port() {
    let cluster = cluster();
    let pod = echo("grpc", "server")
        .container("readinessProbe: {grpc: {port: 8080}, periodSeconds: 1, timeoutSeconds: 1}");
    cluster.put_all("grpc", &[&pod.unready()]);
    let message = eventually("the probe's outcome", SOON, || {
        let pod = cluster.bed().pod("grpc", "server").ok()?;
        pod.message.contains("grpc").then_some(pod.message)
    });
    assert!(!message.contains("refused") && !message.contains("transport error"), "{message}");
    let before = passed("node-1");
    eventually("the kernel lets it through", SOON, || (passed("node-1") > before).then_some(()));
}

/// SEMANTICS 3: an exec probe runs in the pod, where nothing is asked.
#[test]
fn an_exec_probe_runs_in_the_pod() {
    let probe =
        "readinessProbe: {exec: {command: [mesh-echo, client, tcp, '127.0.0.1:8080']}, periodSeconds: 1}";
    cluster().put_all("exec", &[&echo("exec", "server").container(probe)]);
}

/// SEMANTICS 3: a httpGet lifecycle hook passes, on the port that only the hook declares.
#[test]
fn a_http_hook_passes_on_the_port_that_it_declares() {
    let cluster = cluster();
    let side = "initContainers: [{name: side, restartPolicy: Always, command: [mesh-echo, server, --http, '8091'],
      startupProbe: {exec: {command: [mesh-echo, client, tcp, '127.0.0.1:8091']}, periodSeconds: 1, failureThreshold: 30}}]";
    let hook = "lifecycle: {postStart: {httpGet: {path: /fail, port: 8091}}}";
    cluster.put_all("hook", &[&echo("hook", "server").spec(&side.replace('\n', " ")).container(hook)]);
    let said = eventually("the hook's request arrives", SOON, || {
        let outcome = cluster.call("hook/server", "http", "127.0.0.1:8091", &["--send", "/healthz"]);
        let text = outcome.answer().text.clone();
        text.contains("503").then_some(text)
    });
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
}
