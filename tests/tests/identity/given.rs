//! An authority that an administrator gives as a Secret, as `docs/examples/given-ca.yaml` has it: the mesh signs
//! with it, and follows when another is put in its place.

use mesh_tests::{
    hbone::{Authority, Leaf},
    trial::Trial,
};

use super::{
    Cluster,
    joining::request,
    rotation::{authority, is_untrusted, replaced},
    servers,
    traffic::Traffic,
};

/// The Secret that names what is to be put in.
const EXAMPLE: &str = include_str!("../../../docs/examples/given-ca.yaml");

/// A testbed whose authority is given from the start.
const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {ca: {secretRef: {name: mesh-ca, namespace: mesh-system}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: id}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
";

/// The example with an authority in it.
fn secret(authority: &Authority) -> String {
    let texts = authority.texts();
    let line = |line: &str| {
        let text = texts.iter().find(|(key, _)| line.trim_start().starts_with(&format!("{key}: <")));
        text.map_or_else(|| line.to_owned(), |(key, text)| format!("  {key}: {text:?}"))
    };
    let filled: Vec<String> = EXAMPLE.lines().map(line).collect();
    let filled = filled.join("\n");
    assert_eq!(filled.matches("-----BEGIN").count(), 3, "the example has other places to fill: {filled}");
    filled
}

/// Checks that the server is reached through a tunnel by who shows a leaf of this authority and believes its root
/// alone: what the server shows comes from that root, too.
fn signs(cluster: &Cluster<Trial>, file: &str, authority: &Authority) -> String {
    let leaf = Leaf { names: &["spiffe://cluster.local/ns/id/sa/outside"], ..Leaf::default() };
    authority.issue(&cluster.papers(), file, &leaf).unwrap();
    let words = cluster.words(file);
    for server in servers(cluster) {
        let told = cluster.tunnel(server, &words);
        assert_eq!(told["status"], 200, "{file}: {told}");
    }
    words
}

#[test]
fn a_given_authority_signs_and_another_takes_its_place_under_traffic() {
    let [first, second] = ["first", "second"].map(|name| Authority::given(name).unwrap());
    let cluster = Cluster::own(|| Trial::start("given", &(CLUSTER.to_owned() + &secret(&first))));
    let before = authority(&cluster);
    assert_eq!(before["origin"], "Secret mesh-system/mesh-ca", "{before}");
    assert!(before["problem"].is_null(), "{before}");
    let of_first = signs(&cluster, "first", &first);
    // A root that is not in force is believed by nobody.
    let stranger = cluster.papers().join("stranger");
    second.issue(&cluster.papers(), "stranger", &Leaf::default()).unwrap();
    for server in servers(&cluster) {
        let told = cluster.tunnel(server, &format!("--roots {}.ca", stranger.display()));
        assert!(told["peer"].is_null() && told["failed"].is_string(), "{told}");
    }
    let refused = request(&cluster, "POST", "/ca/rotate");
    assert!(refused.starts_with("HTTP/1.1 409"), "who gave it replaces it: {refused}");

    let traffic = Traffic::start(&cluster, "id/client", "id/server:8080");
    let so_far = traffic.so_far();
    cluster.bed().apply(&secret(&second)).unwrap();
    let after = replaced(&cluster, &before);
    assert!(after["problem"].is_null(), "{after}");
    assert!(traffic.grew(&so_far), "no new connections while the authority was replaced: {so_far:?}");
    traffic.goes_on();
    traffic.stop().assert_whole("another given authority");
    signs(&cluster, "second", &second);
    for server in servers(&cluster) {
        is_untrusted(&cluster, server, &of_first);
    }
}
