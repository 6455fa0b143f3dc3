//! What is written to an API server: pods' conditions, policies' conditions, events.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_api::{
    condition::ENROLLED,
    reports::{PodReport, PodReportState, PodReports},
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use crate::{
    build::Builder,
    pipeline::Shared,
    source::{
        Kubernetes, Source as _,
        api::{Api, World},
    },
    status::{PodWriter, RouteWriter, Teller, Writer, write_pods, write_routes, write_to_cluster},
};

const PODS: &str = "/api/v1/pods";
const POLICIES: &str = "/apis/mesh.internal/v1alpha1/accesspolicies";
const EVENTS: &str = "/apis/events.k8s.io/v1/events";

fn put_pod(world: &World, name: &str, mode: &str, spec: &Value) {
    let mut spec = spec.clone();
    spec["nodeName"] = "n1".into();
    spec["containers"] = json!([{"name": "main"}]);
    let pod = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("u-{name}"), "resourceVersion": "1",
            "labels": {"mesh.internal/mode": mode}},
        "spec": spec,
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    world.put(PODS, "shop", name, pod);
}

/// A controller's part that writes.
struct Scene {
    api: Api,
    shared: Arc<Shared>,
    leads: watch::Sender<bool>,
}

impl Scene {
    async fn start(world: World) -> Self {
        let api = Api::start(world).await;
        let shared = Arc::new(Shared::default());
        let (mut source, seen) = Kubernetes::start(&api.client());
        let building = shared.clone();
        tokio::spawn(async move {
            let mut builder = Builder::default();
            loop {
                building.take(&mut builder, source.now());
                sleep(Duration::from_millis(10)).await;
            }
        });
        let (leads, leading) = watch::channel(true);
        let events = Teller::start(api.client(), "host");
        let pods = PodWriter {
            conditions: shared.conditions(),
            reports: shared.reports.clone(),
            store: shared.store.clone(),
            acks: shared.acks.clone(),
            seen: seen.clone(),
            leads: leading.clone(),
            events: events.clone(),
        };
        tokio::spawn(write_pods(api.client(), pods));
        let routes = RouteWriter {
            parents: shared.parents(),
            built: shared.store.sequence(),
            seen: seen.clone(),
            leads: leading.clone(),
            events: events.clone(),
        };
        tokio::spawn(write_routes(api.client(), routes));
        let writer = Writer {
            conditions: shared.conditions(),
            store: shared.store.clone(),
            acks: shared.acks.clone(),
            statuses: seen,
            leads: leading,
            events,
        };
        tokio::spawn(write_to_cluster(api.client(), writer));
        Self { api, shared, leads }
    }

    /// A condition of an object.
    fn condition(&self, path: &str, name: &str, kind: &str) -> Option<Value> {
        let object = self.api.world.object(path, "shop", name)?;
        let mut all = object["status"]["conditions"].as_array()?.iter();
        all.find(|condition| condition["type"] == kind).cloned()
    }

    fn events(&self, about: &str) -> Vec<Value> {
        let all = self.api.world.all(EVENTS).into_iter();
        all.filter(|event| event["regarding"]["name"] == about).collect()
    }

    fn patches(&self) -> usize {
        self.api.world.requests().iter().filter(|request| request.ends_with("PATCH")).count()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn wired(name: &str) -> PodReports {
    let pod =
        PodReport { uid: format!("u-{name}"), state: PodReportState::Wired.into(), ..PodReport::default() };
    PodReports { pods: vec![pod], gone: Vec::new(), whole: true }
}

#[tokio::test]
async fn whether_a_pod_is_in_the_mesh_is_written_to_it_once_and_told() {
    let world = World::default().with_definitions();
    put_pod(&world, "a", "enabled", &json!({}));
    put_pod(&world, "host", "enabled", &json!({"hostNetwork": true}));
    put_pod(&world, "plain", "disabled", &json!({}));
    let scene = Scene::start(world).await;
    let enrolled = |name: &str| scene.condition(PODS, name, ENROLLED);
    scene.until("the refusal", || enrolled("host").is_some()).await;
    let refused = enrolled("host").unwrap();
    assert_eq!(
        (refused["status"].as_str(), refused["reason"].as_str()),
        (Some("False"), Some("HostNetwork"))
    );
    scene.until("the event", || !scene.events("host").is_empty()).await;
    let [event] = &scene.events("host")[..] else { panic!("one is enough") };
    assert_eq!((event["reason"].as_str(), event["type"].as_str()), (Some("NotEnrolled"), Some("Warning")));
    assert_eq!(event["regarding"]["uid"], "u-host");
    assert!(event["note"].as_str().unwrap().starts_with("HostNetwork: spec.hostNetwork"), "{event}");

    let node = Arc::<str>::from("n1");
    scene.shared.reports.begin(&node, 1, Instant::now());
    scene.shared.reports.take(&node, 1, wired("a")).unwrap();
    scene.until("the truth", || enrolled("a").is_some()).await;
    assert_eq!(enrolled("a").unwrap()["status"], "True");
    assert!(enrolled("plain").is_none());
    assert!(scene.condition(PODS, "a", "Ready").is_some(), "the others' are left alone");
    assert_eq!(scene.events("a"), Vec::<Value>::new(), "that all is well is no news");

    // Nothing changed, so nothing is written; a pod that leaves loses the condition.
    let patches = scene.patches();
    sleep(Duration::from_secs(4)).await;
    assert_eq!(scene.patches(), patches);
    put_pod(&scene.api.world, "a", "disabled", &json!({}));
    let gone = PodReports { gone: vec!["u-a".to_owned()], ..PodReports::default() };
    scene.shared.reports.take(&node, 1, gone).unwrap();
    scene.until("its end", || enrolled("a").is_none()).await;
}

#[tokio::test]
async fn a_policy_that_is_refused_is_told_and_that_it_is_well_again_too() {
    let world = World::default().with_definitions();
    let policy = |spec: Value| {
        json!({"metadata": {"name": "p", "namespace": "shop", "uid": "u-p", "resourceVersion": "1", "generation": 1},
            "spec": spec})
    };
    world.put(POLICIES, "shop", "p", policy(json!({"selector": {}, "ingress": [{"from": []}]})));
    let scene = Scene::start(world).await;
    let accepted = || {
        let status = scene.condition(POLICIES, "p", "Accepted")?["status"].clone();
        Some(status.as_str()?.to_owned())
    };
    scene.until("the refusal", || accepted().as_deref() == Some("False")).await;
    scene.until("the event", || !scene.events("p").is_empty()).await;
    let [event] = &scene.events("p")[..] else { panic!("one is enough") };
    assert_eq!(
        (event["reason"].as_str(), event["regarding"]["uid"].as_str()),
        (Some("NotAccepted"), Some("u-p"))
    );
    let mut good = policy(json!({"selector": {}, "ingress": []}));
    good["status"] = scene.api.world.object(POLICIES, "shop", "p").unwrap()["status"].clone();
    scene.api.world.put(POLICIES, "shop", "p", good);
    scene.until("it is well", || accepted().as_deref() == Some("True")).await;
    scene.until("the news", || scene.events("p").len() == 2).await;
    let reasons: Vec<Value> = scene.events("p").into_iter().map(|event| event["reason"].clone()).collect();
    assert!(reasons.contains(&"Accepted".into()), "{reasons:?}");
}

const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/httproutes";

/// A route for a gateway and for Service `web`, with what the gateway's controller says of it.
fn routed(generation: i64, rules: &Value) -> Value {
    let service = json!({"group": "", "kind": "Service", "name": "web", "port": 80});
    json!({
        "metadata": {"uid": "u-r", "generation": generation},
        "spec": {"parentRefs": [{"name": "edge"}, service], "rules": rules},
        "status": {"parents": [{"parentRef": {"name": "edge"}, "controllerName": "a.b/c", "conditions": []}]},
    })
}

#[tokio::test]
async fn of_a_routes_parents_ours_are_written_and_the_others_stay() {
    let world = World::default().with_definitions();
    world.define_route("httproutes");
    let service = json!({"spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}});
    world.put("/api/v1/services", "shop", "web", service);
    world.put(ROUTES, "shop", "r", routed(1, &json!([{"backendRefs": [{"name": "web", "port": 80}]}])));
    let scene = Scene::start(world).await;
    let parents = || {
        let route = scene.api.world.object(ROUTES, "shop", "r").unwrap();
        route["status"]["parents"].as_array().cloned().unwrap_or_default()
    };
    scene.until("ours", || parents().len() == 2).await;
    let [gateway, ours] = &parents()[..] else { panic!() };
    assert_eq!(gateway["controllerName"], "a.b/c");
    assert_eq!(
        (&ours["controllerName"], &ours["parentRef"]["port"]),
        (&json!("mesh.internal/controller"), &json!(80))
    );
    let said: Vec<_> =
        ours["conditions"].as_array().unwrap().iter().map(|one| (&one["type"], &one["status"])).collect();
    assert_eq!(said, [(&json!("Accepted"), &json!("True")), (&json!("ResolvedRefs"), &json!("True"))]);
    assert_eq!(scene.events("r"), Vec::<Value>::new(), "that all is well is no news");
    let patches = scene.patches();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.patches(), patches, "once");

    // Somebody writes the whole route, without ours, and wrongly.
    scene.api.world.put(ROUTES, "shop", "r", routed(2, &json!([{"filters": [{"type": "Odd"}]}])));
    scene
        .until("the refusal", || {
            parents().iter().any(|parent| {
                parent["conditions"][0]["reason"] == "UnsupportedValue"
                    && parent["conditions"][0]["observedGeneration"] == 2
            })
        })
        .await;
    assert_eq!(parents().len(), 2);
    scene.until("the event", || !scene.events("r").is_empty()).await;
    assert_eq!(scene.events("r")[0]["regarding"]["uid"], "u-r");

    // No parent of ours any more.
    let mut gateways = routed(3, &json!([]));
    gateways["spec"]["parentRefs"] = json!([{"name": "edge"}]);
    gateways["status"]["parents"] = parents().into();
    scene.api.world.put(ROUTES, "shop", "r", gateways);
    scene.until("its end", || parents().len() == 1).await;
    assert_eq!(parents()[0]["controllerName"], "a.b/c");
}

#[tokio::test]
async fn the_mesh_that_names_this_controller_is_told_what_is_supported() {
    let meshes = "/apis/gateway.networking.x-k8s.io/v1alpha1/xmeshes";
    let world = World::default().with_definitions();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world.put(definitions, "", "xmeshes.gateway.networking.x-k8s.io", json!({}));
    let mesh =
        |controller: &str| json!({"metadata": {"generation": 1}, "spec": {"controllerName": controller}});
    world.put(meshes, "", "ours", mesh("mesh.internal/controller"));
    world.put(meshes, "", "others", mesh("a.b/c"));
    let scene = Scene::start(world).await;
    let status = |name: &str| scene.api.world.object(meshes, "", name).unwrap()["status"].clone();
    scene.until("it is accepted", || status("ours")["conditions"].is_array()).await;
    assert_eq!(status("ours")["conditions"][0]["status"], "True");
    sleep(Duration::from_secs(1)).await;
    assert!(status("others").is_null());
}

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let world = World::default().with_definitions();
    let scene = Scene::start(world).await;
    scene.leads.send(false).unwrap();
    put_pod(&scene.api.world, "host", "enabled", &json!({"hostNetwork": true}));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.patches(), 0);
}
