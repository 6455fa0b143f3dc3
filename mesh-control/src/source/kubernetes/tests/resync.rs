//! What an API server that was away costs the nodes: what changed meanwhile, and no more.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::json;
use tokio_stream::wrappers::UnixListenerStream;

use super::{
    Kubernetes, NAMESPACES, PODS,
    api::{Api, World},
};
use crate::{
    ads::{
        Ads, listen,
        tests::client::{Client, Sent},
    },
    build::Builder,
    pipeline::Shared,
    source::Source as _,
};

const NODES: &str = "/api/v1/nodes";
const COUNT: u32 = 300;
const CHANGED: u32 = 60;

fn put(world: &World, number: u32, address: u32) {
    let (name, high, low) = (format!("p{number}"), address / 250, address % 250 + 1);
    let metadata =
        json!({"uid": format!("u-{name}"), "labels": {"mesh.internal/mode": "enabled", "app": "web"}});
    let spec = json!({"nodeName": "n1", "serviceAccountName": "web", "containers": [{"name": "main"}]});
    let status = json!({"phase": "Running", "podIP": format!("10.1.{high}.{low}")});
    world.put(PODS, "shop", &name, json!({"metadata": metadata, "spec": spec, "status": status}));
}

/// A controller that agents reach over a Unix socket.
struct Controller {
    source: Kubernetes,
    shared: Arc<Shared>,
    builder: Builder,
}

impl Controller {
    fn start(api: &Api, socket: &Path) -> Self {
        let (source, _) = Kubernetes::start(&api.client());
        let shared = Arc::new(Shared::default());
        let service = Ads::open(shared.store.clone(), shared.acks.clone()).service();
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listen(socket, None).unwrap())));
        Self { source, shared, builder: Builder::default() }
    }

    /// Builds until there was nothing new for a while.
    async fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 30
            || *self.shared.store.sequence().borrow() == 0
            || self.shared.source_error().is_some()
        {
            let before = *self.shared.store.sequence().borrow();
            let next = self.source.now();
            self.shared.take(&mut self.builder, next);
            quiet = if *self.shared.store.sequence().borrow() == before { quiet + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Takes everything that comes of workloads, until nothing more does.
async fn everything(client: &mut Client) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Ok(sent) = tokio::time::timeout(Duration::from_millis(500), client.take("Workload")).await {
        all.push(sent);
    }
    all
}

/// That only so many came, with at most a tenth more of bytes than they have.
fn assert_only(sent: &[Sent], count: u32) {
    let updated: usize = sent.iter().map(|sent| sent.updated.len()).sum();
    let (bytes, resources) =
        sent.iter().fold((0, 0), |sum, sent| (sum.0 + sent.bytes.0, sum.1 + sent.bytes.1));
    assert_eq!((updated, sent.iter().map(|sent| sent.removed.len()).sum::<usize>()), (count as usize, 0));
    assert!(bytes * 10 <= resources * 11, "{bytes} bytes for {resources} of resources");
}

#[tokio::test]
async fn nodes_are_sent_what_changed_and_no_more() {
    let world = World::default().with_definitions();
    world.put(NODES, "", "n1", json!({}));
    world.put(NAMESPACES, "", "shop", json!({}));
    (0..COUNT).for_each(|number| put(&world, number, number));
    let mut api = Api::start(world).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ads.sock");
    let mut controller = Controller::start(&api, &socket);
    controller.settle().await;
    let mut client = Client::connect(&socket, "n1").await;
    client.subscribe("Workload", &["*"], &[]).await;
    let first = everything(&mut client).await;
    assert_only(&first, COUNT);

    // Away, and back: where the API server still has the version, and where everything is listed anew.
    for (round, forgets) in [(1, false), (2, true)] {
        api.stop().await;
        (0..CHANGED).for_each(|number| put(&api.world, number, number + round * COUNT));
        if forgets {
            api.world.forget();
        }
        api.restart().await;
        controller.settle().await;
        assert_only(&everything(&mut client).await, CHANGED);
    }

    // Another controller takes the place of this one: the agent tells it what it has.
    let mut held: std::collections::BTreeMap<_, _> =
        first.into_iter().flat_map(|sent| sent.versions).collect();
    let socket = directory.path().join("next.sock");
    let mut next = Controller::start(&api, &socket);
    next.settle().await;
    let mut client = Client::connect(&socket, "n1").await;
    client.subscribe("Workload", &["*"], &held.clone().into_iter().collect::<Vec<_>>()).await;
    let sent = everything(&mut client).await;
    assert_only(&sent, CHANGED);
    held.extend(sent.into_iter().flat_map(|sent| sent.versions));
    let mut client = Client::connect(&socket, "n1").await;
    client.subscribe("Workload", &["*"], &held.into_iter().collect::<Vec<_>>()).await;
    let updated: usize = everything(&mut client).await.iter().map(|sent| sent.updated.len()).sum();
    assert_eq!(updated, 0, "one that has everything is sent nothing");
}
