//! SEMANTICS 9.5: what a node is told follows from who it is, not from what it asks for.

use mesh_api::{
    resources::{NodeConfig, PodPolicy, TrustBundle, Workload},
    type_url,
};

use super::{
    FAR, PLAYED,
    agent::{Agent, Controller},
    cluster,
    joining::{ask_to_join, newcomer},
};

#[test]
fn a_node_is_told_no_more_than_its_own_scope_whatever_it_asks_for() {
    let cluster = cluster();
    let policy = "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\n\
        metadata: {name: scope, namespace: id}\n\
        spec: {selector: {matchLabels: {app: server}}, ingress: [{name: anyone}]}\n";
    cluster.put("scope", policy);
    let join = ask_to_join(&cluster, PLAYED);
    let node = newcomer(&cluster, &join).join(&join, PLAYED, &cluster.papers(), "scope").unwrap();
    let agent = |()| Agent::connect(&Controller::of(cluster.trial.bed()), &node);

    // Under its own name it is told what it needs.
    let bundle = agent(()).discover(PLAYED, &type_url::<TrustBundle>(), &["default"]).unwrap();
    assert_eq!(bundle.resources.len(), 1, "{bundle:?}");
    // Under another's it is told nothing.
    let refused = agent(()).discover(FAR, &type_url::<NodeConfig>(), &["*"]).expect_err("not its name");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    // Another's settings and policies do not exist for it.
    let settings = agent(()).discover(PLAYED, &type_url::<NodeConfig>(), &[FAR, PLAYED]).unwrap();
    let names: Vec<&str> = settings.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, [PLAYED]);
    let uid = cluster.pod("id/server").uid;
    let policies = agent(()).discover(PLAYED, &type_url::<PodPolicy>(), &["*", &format!("id/server/{uid}")]);
    let names: Vec<String> = policies.unwrap().resources.into_iter().map(|resource| resource.name).collect();
    assert!(names.iter().all(|name| !name.starts_with("id/")), "another node's policies: {names:?}");
    // What its pods may reach it is told, without what only the pod's own node needs to know.
    let workloads = agent(()).discover(PLAYED, &type_url::<Workload>(), &["*"]).unwrap();
    assert!(!workloads.resources.is_empty(), "it is told nothing of the others");
    for resource in workloads.resources {
        let workload: Workload = prost::Message::decode(resource.resource.unwrap().value.as_slice()).unwrap();
        assert!(workload.local.is_none() || workload.node == PLAYED, "{workload:?}");
    }
    cluster.remove("scope");
}
