//! The socket answers in HTTP and JSON.

use std::{path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{StatusReport, serve};
use crate::{
    ads::listen,
    build::Builder,
    ca::{Authority, CaReport, Directories, IdentitiesReport, JoinReport, Timestamp},
    pipeline::Shared,
    source::of_yaml,
};

fn authority(directory: &Path, shared: &Shared) -> Arc<Authority> {
    let directories = Directories {
        authority: directory.join("ca"),
        join: directory.join("join"),
        agent_uid: None,
        join_ttl: std::time::Duration::from_secs(60),
    };
    Arc::new(Authority::open(directories, shared.placements.clone(), Timestamp::now()).unwrap())
}

fn body<T: serde::de::DeserializeOwned>(answer: &str) -> T {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

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
    let authority = authority(directory.path(), &shared);
    tokio::spawn(serve(listen(&socket, None).unwrap(), shared.clone(), authority));
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

#[tokio::test]
async fn the_authority_is_told_and_turned() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let shared = Arc::new(Shared::default());
    let authority = authority(directory.path(), &shared);
    tokio::spawn(serve(listen(&socket, None).unwrap(), shared.clone(), authority.clone()));
    assert!(request(&socket, "POST /ca/rotate").await.starts_with("HTTP/1.1 503"));
    tokio::spawn(crate::ca::run(authority.clone(), shared.clone()));
    let yaml = "
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default, generation: 3}
spec: {ca: {workloadTTL: 1h}}
";
    shared.take(&mut Builder::default(), Ok(Some(of_yaml(yaml))));
    authority.trust().wait_for(Option::is_some).await.unwrap();
    let report: CaReport = body(&request(&socket, "GET /ca").await);
    assert_eq!(
        (report.origin.as_str(), report.joining.as_slice()),
        ("generated", ["n1".to_owned()].as_slice())
    );
    let join: JoinReport = body(&request(&socket, "POST /join?node=n1").await);
    assert!(join.node == "n1" && Path::new(&join.file).exists());
    let identities: IdentitiesReport = body(&request(&socket, "GET /identities").await);
    assert!(identities.identities.is_empty());
    let report: CaReport = body(&request(&socket, "POST /ca/rotate").await);
    assert_eq!(report.phase, crate::ca::Phase::Distributing);
    for (line, status, said) in [
        ("POST /ca/rotate", "409", "being replaced already"),
        ("POST /join?node=n9", "404", "there is no node `n9`"),
        ("POST /join", "400", "name the node"),
        ("GET /ca/rotate", "405", "POST only"),
    ] {
        let answer = request(&socket, line).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(said),
            "{line}: {answer}"
        );
    }
    // The status of the MeshConfig shows that its authority is there.
    let config = status_of(&shared, "MeshConfig").await;
    assert!(
        config.iter().any(|condition| condition.kind == "CAReady" && condition.observed_generation == 3),
        "{config:?}"
    );
}

async fn status_of(shared: &Shared, kind: &str) -> Vec<mesh_api::condition::Condition> {
    let mut conditions = shared.conditions();
    let told =
        conditions.wait_for(|conditions| conditions.values().flatten().any(|one| one.kind == "CAReady"));
    let told = tokio::time::timeout(std::time::Duration::from_secs(10), told).await.unwrap().unwrap();
    told.iter().find(|(object, _)| object.kind == kind).unwrap().1.clone()
}
