//! SEMANTICS 9.3 and 9.4: how a node joins, and what it may ask for once it has.

use std::{fs, net::Ipv4Addr, time::Duration};

use mesh_tests::{
    hbone::Credentials,
    trial::{Trial, eventually, played},
};

use super::{
    Cluster, FAR, PLAYED, SOON,
    agent::{Agent, Controller, JoinFile},
    cluster,
};

/// A new join file for a node, as an administrator asks for one.
pub(super) fn ask_to_join(cluster: &Cluster, node: &str) -> JoinFile {
    let path = cluster.bed().layout().join_file(node);
    let _ = fs::remove_file(&path);
    post(cluster, &format!("/join?node={node}"));
    eventually(&format!("{} is written", path.display()), SOON, || path.exists().then_some(()));
    JoinFile::read(&path)
}

/// A POST to the controller's socket, which must succeed.
pub(super) fn post(cluster: &Trial, path: &str) {
    let answer = request(cluster, "POST", path);
    assert!(answer.starts_with("HTTP/1.1 200"), "POST {path}: {answer}");
}

/// A request to the controller's socket; gives the whole answer.
pub(super) fn request(cluster: &Trial, method: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let socket = cluster.run().join("control.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let head = "Host: localhost\r\nContent-Length: 0\r\nConnection: close";
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A connection that believes the join file's roots and shows nothing.
pub(super) fn newcomer(cluster: &Cluster, join: &JoinFile) -> Agent {
    let roots = cluster.papers().join(format!("{}.roots", join.node));
    fs::write(&roots, &join.roots).unwrap();
    Agent::connect(&Controller::of(cluster.trial.bed()), &Credentials::nobody(roots))
}

/// A join token is good once, for its own node, and for a while.
#[test]
fn a_join_token_is_good_once_and_for_its_own_node() {
    let cluster = cluster();
    let join = ask_to_join(&cluster, PLAYED);
    let agent = newcomer(&cluster, &join);
    let papers = cluster.papers();
    for (what, node, join) in [
        ("another node's", FAR, join.clone()),
        ("a made up one", PLAYED, JoinFile { token: "0123456789abcdef".repeat(4), ..join.clone() }),
        ("a node that there is not", "node-99", join.clone()),
    ] {
        let refused = agent.join(&join, node, &papers, "refused").expect_err(what);
        assert!(
            matches!(
                refused.code(),
                tonic::Code::PermissionDenied | tonic::Code::Unauthenticated | tonic::Code::NotFound
            ),
            "{what}: {refused:?}"
        );
    }
    // Neither of them used it up.
    agent.join(&join, PLAYED, &papers, "joined").expect("the token is good for its own node");
    let refused = agent.join(&join, PLAYED, &papers, "again").expect_err("a token is good once");
    assert!(
        matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::Unauthenticated),
        "{refused:?}"
    );
    assert!(!refused.message().contains(&join.token), "an error does not repeat a secret: {refused:?}");
}

/// Without a node's certificate nothing is told but to whoever joins.
#[test]
fn nothing_is_told_to_a_stranger() {
    let cluster = cluster();
    let join = ask_to_join(&cluster, PLAYED);
    let stranger = newcomer(&cluster, &join);
    let uid = cluster.pod("id/server").uid;
    let refused =
        stranger.issue(&uid, &join.roots, &cluster.papers(), "stranger").expect_err("no certificate");
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
    let refused = stranger.discover(FAR, &mesh_api::type_url::<mesh_api::resources::Workload>(), &["*"]);
    assert_eq!(refused.expect_err("no certificate").code(), tonic::Code::Unauthenticated);
    // A workload's certificate is no node's.
    let leaf =
        mesh_tests::hbone::Leaf { names: &["spiffe://cluster.local/ns/id/sa/server"], ..Default::default() };
    cluster.issue("workload", &leaf);
    let workload = Agent::connect(
        &Controller::of(cluster.trial.bed()),
        &Credentials::of(&cluster.papers().join("workload")),
    );
    let refused = workload.issue(&uid, &join.roots, &cluster.papers(), "refused").expect_err("not a node's");
    assert!(
        matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::Unauthenticated),
        "{refused:?}"
    );
}

/// SEMANTICS 9.4: a node gets the certificates of its own pods' identities, under the controller's names, and no others.
#[test]
fn a_node_gets_certificates_for_its_own_pods_only() {
    let cluster = cluster();
    cluster.put("own", played("own", "exec sleep infinity"));
    let join = ask_to_join(&cluster, PLAYED);
    let papers = cluster.papers();
    let node = newcomer(&cluster, &join).join(&join, PLAYED, &papers, "node").unwrap();
    let agent = Agent::connect(&Controller::of(cluster.trial.bed()), &node);
    let uid = cluster.pod("played/own").uid;
    eventually("the controller knows the pod", SOON, || {
        agent.issue(&uid, &join.roots, &papers, "issued").ok()
    });
    for server in super::servers(&cluster) {
        let told = cluster.tunnel(server, &cluster.words("issued"));
        assert_eq!(told["status"], 200, "a certificate by the controller is good: {told}");
    }
    for (what, uid) in [
        ("a pod of another node", cluster.pod("id/server").uid),
        ("a pod that there is not", "00000000-0000-0000-0000-000000000000".to_owned()),
    ] {
        let refused = agent.issue(&uid, &join.roots, &papers, "refused").expect_err(what);
        assert!(
            matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::NotFound),
            "{what}: {refused:?}"
        );
    }
    cluster.remove("own");
    eventually("an identity without a pod is not issued, because of the pod", SOON, || {
        // Not so often that it is refused because of that.
        std::thread::sleep(Duration::from_millis(100));
        let refused = agent.issue(&uid, &join.roots, &papers, "ended").err()?;
        matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::NotFound).then_some(())
    });
}

/// A token that nobody used in time is worth nothing: a controller of this test's own, whose tokens are short-lived.
#[test]
fn a_join_token_expires() {
    let folder = tempfile::tempdir().unwrap();
    let (source, run) = (folder.path().join("source"), folder.path().join("run"));
    fs::create_dir_all(&source).unwrap();
    for part in ["kubelet/pods", "kubelet/services", "kubelet/nodes", "status"] {
        fs::create_dir_all(run.join(part)).unwrap();
    }
    fs::write(source.join("node.yaml"), "{apiVersion: v1, kind: Node, metadata: {name: late}}").unwrap();
    let ours = std::env::current_exe().unwrap();
    let program = ours
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("mesh-control"))
        .find(|file| file.is_file());
    // An address of loopback that nobody else uses, so that nobody takes the port between this and the controller.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 77, high, low);
    let listen = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap();
    let mut controller = std::process::Command::new(program.expect("mesh-control is built"))
        .arg(format!("--source=dir:{}", source.display()))
        .arg(format!("--run-dir={}", run.display()))
        .arg(format!("--listen={listen}"))
        .arg("--join-ttl=1s")
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let path = run.join("join").join("late");
    let deadline = std::time::Instant::now() + SOON;
    while !path.exists() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let join = path.exists().then(|| JoinFile::read(&path));
    std::thread::sleep(Duration::from_millis(1500));
    let refused = join.map(|join| {
        let roots = folder.path().join("roots");
        fs::write(&roots, &join.roots).unwrap();
        let agent = Agent::connect(&Controller::at(listen), &Credentials::nobody(roots));
        agent.join(&join, "late", folder.path(), "late").err()
    });
    controller.kill().unwrap();
    controller.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let refused = refused.unwrap_or_else(|| panic!("no join file was written:\n{log}"));
    let refused = refused.expect("an expired token is refused");
    assert!(
        matches!(refused.code(), tonic::Code::PermissionDenied | tonic::Code::Unauthenticated),
        "{refused:?}"
    );
    assert!(refused.message().contains("expired"), "it says why: {refused:?}");
}
