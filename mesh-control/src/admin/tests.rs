//! The socket answers in HTTP and JSON.

use std::{path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{StatusReport, serve};
use crate::{ads::listen, build::Builder, pipeline::Shared, source::of_yaml};

async fn request(socket: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let text = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn status_tells_nodes_objects_and_errors() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let shared = Arc::new(Shared::default());
    tokio::spawn(serve(listen(&socket, None).unwrap(), shared.clone()));
    let yaml = "
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: x, namespace: shop, generation: 2}
spec: {selector: {}}
";
    shared.take(&mut Builder::default(), Ok(Some(of_yaml(yaml))));

    let answer = request(&socket, "GET /status").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("application/json"), "{answer}");
    let report: StatusReport = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((report.sequence, report.source_error), (1, None));
    assert_eq!((report.nodes[0].name.as_str(), report.nodes[0].connected), ("n1", false));
    assert_eq!(report.nodes[0].resources["NodeConfig"], 1);
    let object = &report.objects[0];
    assert_eq!(
        (object.kind.as_str(), object.namespace.as_str(), object.name.as_str()),
        ("AccessPolicy", "shop", "x")
    );
    assert_eq!(object.conditions[0].observed_generation, 2);

    assert!(request(&socket, "POST /status").await.starts_with("HTTP/1.1 405"));
    assert!(request(&socket, "GET /").await.starts_with("HTTP/1.1 404"));
}

#[test]
fn only_the_owner_may_use_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("a.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let _first = listen(&socket, None).unwrap();
    // One left behind is replaced.
    let _second = listen(&socket, None).unwrap();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
}
