//! What policies say of a name that the tunnel has proven, and who is told: the client's node that it was refused, the
//! server's node by which policy.

use mesh_tests::trial::echo;

use super::{
    FAR, cluster, is_reset,
    told::{Before, Case},
};

#[test]
fn a_refusal_is_told_on_both_nodes_and_names_its_policy_on_the_servers() {
    let cluster = cluster();
    let policy = |name: &str, rules: &str| {
        format!(
            "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {name}, namespace: id}}\n\
             spec: {{selector: {{matchLabels: {{app: {name}}}}}, ingress: [{rules}]}}\n"
        )
    };
    cluster.put_all(
        "policy",
        &[
            &echo("id", "unnamed").on(FAR),
            &echo("id", "barred").on(FAR),
            &policy("unnamed", "{from: [{serviceAccounts: [neighbour]}]}"),
            &policy(
                "barred",
                "{name: not-him, action: Deny, from: [{serviceAccounts: [client]}]}, {name: anyone}",
            ),
        ],
    );
    let client = cluster.pod("id/client").addresses;
    for (name, reason) in [("unnamed", "NoRuleAllows"), ("barred", "PolicyDenied")] {
        let (pod, policy) = (format!("id/{name}"), format!("AccessPolicy/id/{name}"));
        for to in cluster.resolve(&format!("{pod}:8080")) {
            super::servers::is_tunnelled(&cluster, to);
            let here = Before::of_workload(&cluster, Case::source("PeerDenied"), name);
            let there = Before::of_workload(&cluster, Case::destination(&pod, reason).by(&policy), name);
            is_reset(name, &cluster.tcp("id/client", to));
            here.is_told(to.ip());
            let from = client.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()).expect("one of each family");
            there.is_told(*from);
        }
    }
    cluster.remove("policy");
}
