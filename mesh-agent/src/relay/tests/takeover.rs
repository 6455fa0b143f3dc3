//! A relay whose wire has given way, and one whose wire has taken another's place.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::handover::{FromWire, PodReport, PodState};

use super::{Node, scene, tell_bank, until, workload};

fn wired(uid: &str) -> PodReport {
    PodReport { listeners: 7, ..PodReport::of(uid, PodState::Wired) }
}

fn awaits(node: &Node) -> bool {
    node.unready().iter().any(|reason| reason.contains("the earlier relay still serves pod uid-vault"))
}

#[test]
fn it_takes_what_discovery_tells_and_leaves_the_node_s_files_to_the_next() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        scene.wire.report(FromWire::Pod(wired("uid-vault")));
        until("the report", || scene.node.pods.borrow().len() == 1).await;
        let snapshot = || std::fs::read(scene.directory.join("snapshot")).unwrap();
        let before = snapshot();
        scene.wire.report(FromWire::Leaving);
        until("the end of reports", || scene.node.link.leaving.get()).await;
        assert!(scene.node.pods.borrow().is_empty(), "discovery says from now on which pods there are");

        scene.controller.send(&[("bank/clerk/uid-clerk", workload("clerk", 3, true))], &[]).await;
        until("the change", || scene.controller.acknowledged().len() == 6).await;
        assert!(scene.node.world.resident("uid-clerk").is_some());
        assert_eq!(snapshot(), before, "that file is the next relay's");
        assert!(scene.node.link.connected.get() && scene.node.link.synced.get());

        // Its own wire was started anew, since nobody else is there.
        scene.wire.restart();
        until("the state again", || scene.wire.held().synced).await;
        assert!(!scene.node.link.leaving.get());
        scene.controller.send(&[("bank/clerk/uid-clerk", workload("clerk", 4, true))], &[]).await;
        until("a snapshot of now", || snapshot() != before).await;
    });
}

#[test]
fn it_is_ready_once_it_can_serve_what_the_earlier_one_serves() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        scene.wire.report(FromWire::Pod(wired("uid-vault")));
        until("the report", || scene.node.pods.borrow().len() == 1).await;
        let node = &scene.node;
        assert!(!awaits(node), "nobody served it before");
        node.link.succeeds.set(true);
        assert!(awaits(node));
        assert_eq!(asked(&scene.directory).await, 503);

        node.link.serving.borrow_mut().insert("uid-vault".to_owned(), 6);
        assert!(awaits(node), "at others than wire has made");
        node.link.serving.borrow_mut().insert("uid-vault".to_owned(), 7);
        node.link.changed.notify_one();
        assert!(!awaits(node));
        until("wire to be told", || scene.wire.messages().contains(&"Serves uid-vault".to_owned())).await;

        // A certificate that does not come for other reasons than the controller's absence holds nothing up for ever.
        node.link.serving.borrow_mut().clear();
        assert!(awaits(node));
        node.link.since.set(Instant::now().checked_sub(Duration::from_secs(61)));
        assert!(!awaits(node));
        node.discovery.connected.set(false);
        assert!(awaits(node));
    });
}

async fn asked(directory: &Path) -> u16 {
    let mut stream = UnixStream::connect(directory.join("admin.sock")).await.unwrap();
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
