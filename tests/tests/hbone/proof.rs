//! SEMANTICS 2.5: what a certificate proves and what it does not. A name opens rules that ask for a name; which pod
//! it is that speaks, its address says, and never what it claims in a header.

use std::net::{IpAddr, SocketAddr};

use mesh_tests::trial::{Expect::Answer, echo};

use super::{ask, cluster, issue};

fn access(name: &str, from: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {name}, namespace: hb}}\n\
         spec: {{selector: {{matchLabels: {{app: {name}}}}}, ingress: [{{from: [{from}]}}]}}\n"
    )
}

/// One server for every way to name `hb/far`, asked by that pod and by another that has its name and claims its
/// address.
#[test]
fn a_name_from_another_address_opens_only_rules_that_ask_for_a_name() {
    let cluster = cluster();
    let far = cluster.pod("hb/far").addresses;
    let ranges: Vec<String> =
        far.iter().map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })).collect();
    cluster.put_all(
        "proof",
        &[
            &echo("hb", "by-name"),
            &echo("hb", "by-pod"),
            &echo("hb", "by-address"),
            &echo("hb", "near-far").account("far"),
            &access("by-name", "{serviceAccounts: [far]}"),
            &access("by-pod", "{pods: {matchLabels: {app: far}}}"),
            &access("by-address", &format!("{{cidrs: [{}]}}", ranges.join(", "))),
        ],
    );
    // The pod itself, through its own relay, and one of the same name on the server's node.
    cluster.expect(&[
        ("hb/far", "hb/by-name:8080", Answer),
        ("hb/far", "hb/by-pod:8080", Answer),
        ("hb/far", "hb/by-address:8080", Answer),
        ("hb/near-far", "hb/by-name:8080", Answer),
    ]);
    issue(cluster, "as-far", "spiffe://cluster.local/ns/hb/sa/far");
    issue(cluster, "as-foreign", "spiffe://cluster.local/ns/hb/sa/foreign");
    let same =
        |list: &[IpAddr], like: IpAddr| *list.iter().find(|ip| ip.is_ipv4() == like.is_ipv4()).unwrap();
    for (app, file, status) in [
        ("by-name", "as-foreign", 401),
        ("by-name", "as-far", 200),
        ("by-pod", "as-foreign", 401),
        ("by-pod", "as-far", 401),
        ("by-address", "as-foreign", 401),
        ("by-address", "as-far", 401),
    ] {
        for server in cluster.pod(&format!("hb/{app}")).addresses {
            let authority = SocketAddr::new(server, 8080).to_string();
            let claimed = SocketAddr::new(same(&far, server), 1);
            let claims = format!(
                "--header forwarded=for=\"{claimed}\" \
                 --header baggage=k8s.namespace.name=hb,k8s.pod.name=far,service.name=far"
            );
            for claims in ["", &claims] {
                let more = format!("{} {claims}", super::words(cluster, file));
                let told = ask(cluster, "hb/foreign", server, &authority, &more);
                assert_eq!(told["status"], status, "{file} to {app} at {server} with {claims:?}: {told}");
            }
        }
    }
}
