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
    status::{PodWriter, Teller, Writer, write_pods, write_to_cluster},
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

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let world = World::default().with_definitions();
    let scene = Scene::start(world).await;
    scene.leads.send(false).unwrap();
    put_pod(&scene.api.world, "host", "enabled", &json!({"hostNetwork": true}));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.patches(), 0);
}
