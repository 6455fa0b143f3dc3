//! The whole of it, against a server that speaks the protocol.

pub(crate) mod api;
mod resync;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;

use super::Kubernetes;
use crate::{
    objects::{ObjectName, RouteKind, RouteName},
    source::{Snapshot, Source as _},
};
use api::{Api, World};

const PODS: &str = "/api/v1/pods";
const NAMESPACES: &str = "/api/v1/namespaces";
const POLICIES: &str = "/apis/mesh.internal/v1alpha1/accesspolicies";

/// The first state in which something holds.
async fn wait(source: &mut Kubernetes, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let began = Instant::now();
    loop {
        if let Ok(Some(snapshot)) = source.now()
            && holds(&snapshot)
        {
            return snapshot;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pods(snapshot: &Snapshot) -> Vec<String> {
    snapshot.objects.pods.keys().map(ToString::to_string).collect()
}

/// How many requests there were for each kind.
fn counted(requests: &[String]) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    for request in requests {
        let (path, _) = request.split_once('?').unwrap();
        *counted.entry(path).or_default() += 1;
    }
    counted
}

fn world() -> World {
    let world = World::default().with_definitions();
    for name in ["a", "b", "c", "d", "e"] {
        world.put(PODS, "shop", name, json!({"spec": {"containers": []}}));
    }
    world.put(NAMESPACES, "", "shop", json!({"spec": {"finalizers": []}}));
    world
}

#[tokio::test]
async fn lists_are_streamed_with_one_request_a_kind() {
    let api = Api::start(world()).await;
    let (mut source, _) = Kubernetes::start(&api.client());
    let snapshot = wait(&mut source, "the first state", |_| true).await;
    assert_eq!(pods(&snapshot), ["shop/a", "shop/b", "shop/c", "shop/d", "shop/e"]);
    let pod = snapshot.objects.pods.values().next().unwrap();
    assert!(pod.metadata.managed_fields.is_none());
    let requests = api.world.requests();
    let counted = counted(&requests);
    // No Secret is named, so none is asked for.
    assert!(counted.len() == 11 && counted.values().all(|count| *count == 1), "{counted:?}");

    api.world.put(PODS, "shop", "f", json!({}));
    api.world.remove(PODS, "shop", "a");
    wait(&mut source, "the change", |snapshot| {
        pods(snapshot) == ["shop/b", "shop/c", "shop/d", "shop/e", "shop/f"]
    })
    .await;
}

#[tokio::test]
async fn without_streaming_lists_come_in_pages() {
    for world in [world().without_streaming(), world().without_progress()] {
        let api = Api::start(world).await;
        let (mut source, _) = Kubernetes::start(&api.client());
        let snapshot = wait(&mut source, "the first state", |_| true).await;
        assert_eq!(snapshot.objects.pods.len(), 5);
        assert!(snapshot.objects.namespaces.contains_key(&ObjectName::cluster("shop")));
        api.world.put(PODS, "shop", "f", json!({}));
        wait(&mut source, "the change", |snapshot| snapshot.objects.pods.len() == 6).await;
        let refused = api.world.requests().iter().filter(|request| request.contains("sendInitial")).count();
        assert_eq!(refused, 1, "the first to be refused tells the others");
    }
}

#[tokio::test]
async fn while_the_server_is_away_everything_stays_and_coming_back_is_no_storm() {
    is_no_storm(world(), |forgets| if forgets { 2 } else { 1 }).await;
}

#[tokio::test]
async fn coming_back_is_no_storm_without_streaming() {
    // A list and a watch of each kind, whose five objects are one page.
    is_no_storm(world().without_streaming().with_pages_of(500), |_| 2).await;
}

async fn is_no_storm(world: World, most: impl Fn(bool) -> usize) {
    let mut api = Api::start(world).await;
    let (mut source, _) = Kubernetes::start(&api.client());
    wait(&mut source, "the first state", |_| true).await;
    for forgets in [false, true] {
        api.stop().await;
        let began = Instant::now();
        while !source.now().is_err_and(|error| error.to_string().contains("cannot be reached")) {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let name = if forgets { "g" } else { "f" };
        api.world.put(PODS, "shop", name, json!({}));
        api.world.remove(PODS, "shop", if forgets { "f" } else { "a" });
        if forgets {
            api.world.forget();
        }
        api.world.not_ready(2);
        api.restart().await;
        let names = ["shop/b", "shop/c", "shop/d", "shop/e"].map(str::to_owned);
        let names: Vec<_> = names.into_iter().chain([format!("shop/{name}")]).collect();
        wait(&mut source, "what changed meanwhile", |snapshot| pods(snapshot) == names).await;
        let began = Instant::now();
        while source.now().is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "everything is followed again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let requests = api.world.requests();
        let counted = counted(&requests);
        assert!(counted.values().all(|count| *count <= most(forgets)), "{counted:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_holds_up_nothing() {
    let world = world();
    world.put(PODS, "shop", "broken", json!({"spec": {"containers": 3}}));
    let api = Api::start(world).await;
    let (mut source, _) = Kubernetes::start(&api.client());
    let snapshot = wait(&mut source, "the first state", |_| true).await;
    let (reference, conditions) = snapshot.problems.iter().next().unwrap();
    assert_eq!(reference.to_string(), "Pod/shop/broken");
    assert!(conditions[0].message.contains("spec.containers: invalid type"), "{conditions:?}");
    assert_eq!(snapshot.objects.pods.len(), 5);

    // One that was good and is not any more stays what it was, and what comes after it is seen.
    api.world.put(PODS, "shop", "a", json!({"spec": {"nodeName": "n1", "containers": []}}));
    let node = |snapshot: &Snapshot| {
        let pod = &snapshot.objects.pods[&ObjectName::new("shop", "a")];
        pod.spec.as_ref().and_then(|spec| spec.node_name.clone())
    };
    wait(&mut source, "the pod's node", |snapshot| node(snapshot).is_some()).await;
    api.world.put(PODS, "shop", "a", json!({"spec": {"nodeName": ["n2"], "containers": []}}));
    api.world.put(PODS, "shop", "e2", json!({}));
    let snapshot = wait(&mut source, "the next object", |snapshot| snapshot.objects.pods.len() == 6).await;
    assert_eq!(node(&snapshot).as_deref(), Some("n1"));
    let told: Vec<_> =
        snapshot.problems.iter().map(|(of, told)| (of.to_string(), &told[0].message)).collect();
    assert_eq!(told[0].0, "Pod/shop/a");
    assert!(
        told[0].1.contains("spec.nodeName") && told[0].1.contains("as last read it stays in force"),
        "{told:?}"
    );
    api.world.remove(PODS, "shop", "e2");

    api.world.babble(PODS);
    api.world.put(PODS, "shop", "f", json!({}));
    let snapshot =
        wait(&mut source, "the change", |snapshot| pods(snapshot).contains(&"shop/f".to_owned())).await;
    assert!(snapshot.trouble.unwrap().contains("Pod: an event is no JSON object"));
}

#[tokio::test]
async fn our_kinds_are_followed_when_their_definitions_come() {
    let api = Api::start(World::default()).await;
    let (mut source, statuses) = Kubernetes::start(&api.client());
    wait(&mut source, "the first state", |_| true).await;
    api.world.put(POLICIES, "shop", "p", json!({"spec": {"selector": {}}}));
    assert!(!api.world.requests().iter().any(|request| request.starts_with(POLICIES)), "none in vain");
    api.world.define("accesspolicies");
    wait(&mut source, "the policy", |snapshot| snapshot.objects.access_policies.len() == 1).await;
    assert_eq!(statuses.observed().len(), 1);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    api.world.remove(path, "", "accesspolicies.mesh.internal");
    wait(&mut source, "no policy", |snapshot| snapshot.objects.access_policies.is_empty()).await;
}

#[tokio::test]
async fn of_secrets_only_the_one_that_is_named_is_asked_for() {
    let world = World::default().with_definitions();
    let keys = json!({"data": {"tls.crt": "YQ==", "tls.key": "Yg==", "ca.crt": "Yw=="}});
    world.put("/api/v1/secrets", "mesh-system", "ca", keys.clone());
    world.put("/api/v1/secrets", "mesh-system", "other", keys);
    let spec = json!({"spec": {"ca": {"secretRef": {"name": "ca", "namespace": "mesh-system"}}}});
    world.put("/apis/mesh.internal/v1alpha1/meshconfigs", "", "default", spec);
    let api = Api::start(world).await;
    let (mut source, _) = Kubernetes::start(&api.client());
    let snapshot = wait(&mut source, "the first state", |_| true).await;
    let names: Vec<_> = snapshot.objects.ca_secrets.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["mesh-system/ca"]);
    let requests = api.world.requests();
    let asked: Vec<_> = requests.iter().filter(|request| request.contains("secrets")).collect();
    assert!(asked.len() == 1 && asked[0].starts_with("/api/v1/namespaces/mesh-system/secrets?"), "{asked:?}");
}

const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/httproutes";
const OLD_TLS_ROUTES: &str = "/apis/gateway.networking.k8s.io/v1alpha2/tlsroutes";

#[tokio::test]
async fn routes_are_followed_when_their_definitions_come_in_the_version_that_is_served() {
    let api = Api::start(world()).await;
    let (mut source, seen) = Kubernetes::start(&api.client());
    wait(&mut source, "a start without the Gateway API", |_| true).await;
    api.world.put(
        ROUTES,
        "shop",
        "r",
        json!({"spec": {}, "status": {"parents": [{"controllerName": "a.b/c"}]}}),
    );
    api.world.define_route("httproutes");
    wait(&mut source, "the route", |snapshot| snapshot.objects.routes.len() == 1).await;
    let route = RouteName { kind: RouteKind::Http, name: ObjectName::new("shop", "r") };
    assert_eq!(seen.parents()[&route].entries.len(), 1);
    assert_eq!(seen.path_of_route(&route), "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes");
    assert!(
        !seen.observed().keys().any(|object| object.kind == "HTTPRoute"),
        "it has no conditions of its own"
    );

    api.world.serves_not("/apis/gateway.networking.k8s.io/v1/tlsroutes");
    api.world.serves_not("/apis/gateway.networking.k8s.io/v1alpha3/tlsroutes");
    api.world.put(OLD_TLS_ROUTES, "shop", "t", json!({"spec": {}}));
    api.world.define_route("tlsroutes");
    let snapshot = wait(&mut source, "the old route", |snapshot| snapshot.objects.routes.len() == 2).await;
    assert_eq!(snapshot.trouble, None);
    let old = RouteName { kind: RouteKind::Tls, name: ObjectName::new("shop", "t") };
    assert_eq!(
        seen.path_of_route(&old),
        "/apis/gateway.networking.k8s.io/v1alpha2/namespaces/shop/tlsroutes"
    );
}

#[tokio::test]
async fn routes_in_no_version_that_is_read_hold_up_nothing() {
    let world = world();
    world.serves_not("/apis/gateway.networking.k8s.io/");
    world.define_route("grpcroutes");
    let api = Api::start(world).await;
    let (mut source, _) = Kubernetes::start(&api.client());
    let snapshot = wait(&mut source, "the first state", |_| true).await;
    assert_eq!(snapshot.objects.pods.len(), 5);
    let trouble = snapshot.trouble.unwrap();
    assert!(trouble.contains("GRPCRoute: the API server answers 404"), "{trouble}");
}
