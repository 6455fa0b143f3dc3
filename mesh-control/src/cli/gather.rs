//! What `meshctl check` judges: everything is asked at once, and what cannot be had says why.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::{ListParams, PostParams};

use super::cluster::{Cluster, ClusterError};
use super::node::{Node, each};
use crate::check::{Agent, Controller, Known, Right, Seen, Unknown, rights};

/// Asks for everything that checks look at; with `pre` nobody of the mesh.
pub(super) async fn seen(cluster: &Cluster, pre: bool) -> Seen {
    let cilium = ListParams::default().fields("metadata.name=cilium-config");
    let lists = async {
        tokio::join!(
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.all(),
            cluster.list(Api::all(cluster.client.clone()), cilium),
        )
    };
    let kinds = async {
        tokio::join!(
            cluster.all(),
            cluster.all(),
            cluster.raw("/apis/crd.projectcalico.org/v1/felixconfigurations"),
            cluster.raw("/apis/monitoring.coreos.com/v1/podmonitors"),
            cluster.raw("/apis/monitoring.coreos.com/v1/servicemonitors"),
        )
    };
    let asked = async { tokio::join!(kubernetes(cluster), granted(cluster, pre)) };
    let mesh = async { tokio::join!(controller(cluster, pre), agents(cluster, pre)) };
    let (lists, kinds, asked, mesh) = tokio::join!(lists, kinds, asked, mesh);
    let monitors = known(kinds.3).and_then(|mut pods| {
        pods.extend(known(kinds.4)?);
        Ok(pods)
    });
    Seen {
        meshctl: env!("CARGO_PKG_VERSION").to_owned(),
        mesh: cluster.mesh.clone(),
        kubernetes: asked.0,
        rights: asked.1,
        nodes: known(lists.0),
        namespaces: known(lists.1),
        pods: known(lists.2),
        services: known(lists.3),
        daemon_sets: known(lists.4),
        deployments: known(lists.5),
        network_policies: known(lists.6),
        validating: known(lists.7),
        mutating: known(lists.8),
        api_services: known(lists.9),
        definitions: known(lists.10),
        cilium: known(lists.11),
        mesh_configs: or_none(kinds.0),
        access_policies: or_none(kinds.1),
        felix: known(kinds.2),
        monitors,
        controller: mesh.0,
        agents: mesh.1,
    }
}

fn known<T>(asked: Result<T, ClusterError>) -> Known<T> {
    asked.map_err(|error| Unknown(error.to_string()))
}

/// Of a kind that is not defined there is none.
fn or_none<T>(asked: Result<Vec<T>, ClusterError>) -> Known<Vec<T>> {
    match asked {
        Err(error) if error.is_not_there() => Ok(Vec::new()),
        asked => known(asked),
    }
}

async fn kubernetes(cluster: &Cluster) -> Known<(u32, u32)> {
    let version = cluster.answer("asking for the API server's version", cluster.client.apiserver_version());
    let version = known(version.await)?;
    let number = |text: &str| text.trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse().ok();
    let both = number(&version.major).zip(number(&version.minor));
    both.ok_or_else(|| Unknown(format!("the API server says it is {}.{}", version.major, version.minor)))
}

async fn granted(cluster: &Cluster, pre: bool) -> Known<Vec<(Right, bool)>> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut granted = Vec::new();
    for right in rights(pre, &cluster.mesh) {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: text(right.verb),
                    group: text(right.group),
                    resource: text(right.resource),
                    subresource: text(right.subresource),
                    namespace: right.namespace.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let parameters = PostParams::default();
        let asked = api.create(&parameters, &review);
        let answer = known(cluster.answer("asking what you may do", asked).await)?;
        granted.push((right, answer.status.is_some_and(|status| status.allowed)));
    }
    Ok(granted)
}

async fn controller(cluster: &Cluster, pre: bool) -> Known<Controller> {
    if pre {
        return Err(Unknown("the mesh is not asked with --pre".to_owned()));
    }
    let socket = known(cluster.controller().await)?;
    let (status, ca) = tokio::join!(socket.get("/status"), socket.get("/ca"));
    Ok(Controller {
        status: status.map_err(|error| error.to_string()),
        ca: ca.map_err(|error| error.to_string()),
    })
}

async fn agents(cluster: &Cluster, pre: bool) -> Known<Vec<Agent>> {
    if pre {
        return Ok(Vec::new());
    }
    let nodes = known(cluster.nodes(None).await)?;
    let asked = each(&nodes, |node: &Node| async move {
        let status = node.agent.get("/status").await;
        let features = node.agent.get("/check").await;
        Agent {
            node: node.name.clone(),
            status: status.map_err(|error| error.to_string()),
            features: features.map_err(|error| error.to_string()),
        }
    });
    Ok(asked.await)
}
