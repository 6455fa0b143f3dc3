//! Joining, certificates and the snapshot, between a fake controller and a fake wire.

use std::os::unix::fs::PermissionsExt;

use super::{Options, Scene, http, scene, start, tell_bank, until};
use mesh_api::resources as api;
use std::rc::Rc;
use std::time::Duration;

const NODE: &str = "spiffe://cluster.local/mesh/node/n1";
const TELLER: &str = "spiffe://cluster.local/ns/bank/sa/teller";

fn certificate_of(scene: &Scene, id: &str) -> Option<String> {
    let certificate = scene.node.identities.certificate(&id.parse().unwrap()).ok()?;
    Some(certificate.id.to_string())
}

#[test]
fn a_node_joins_once_and_gets_a_certificate_for_every_identity_of_its_pods() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the certificates", || scene.controller.signed().len() == 3).await;
        assert_eq!(scene.controller.signed()[0], NODE);
        until("the teller's", || certificate_of(&scene, TELLER).is_some()).await;
        assert_eq!(scene.node.trust.current().trust_domain, "cluster.local");
    });
}

#[test]
fn without_a_trust_bundle_the_state_is_not_whole() {
    scene(async |scene| {
        let config = api::NodeConfig { trust_domain: "cluster.local".into(), ..Default::default() };
        scene.controller.send(&[("n1", config)], &[]).await;
        scene.controller.send::<api::TrustBundle>(&[], &[]).await;
        scene.controller.send::<api::PodPolicy>(&[], &[]).await;
        scene.controller.send::<api::Service>(&[], &[]).await;
        scene.controller.send::<api::Workload>(&[], &[]).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(!*scene.node.discovery.complete.borrow());
        scene.controller.send(&[("default", scene.controller.trust_bundle())], &[]).await;
        until("the whole", || *scene.node.discovery.complete.borrow()).await;
    });
}

#[test]
fn a_bad_trust_bundle_is_refused_by_field_and_the_last_one_counts() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        let good = scene.controller.trust_bundle();
        let bad = [
            api::TrustBundle { roots: Vec::new(), ..good.clone() },
            api::TrustBundle { roots: vec![vec![1]], ..good.clone() },
            api::TrustBundle { revoked: vec![vec![1]], ..good },
        ];
        for bundle in bad {
            scene.controller.send(&[("default", bundle)], &[]).await;
        }
        until("three refusals", || scene.controller.refused().len() == 3).await;
        let refused = scene.controller.refused();
        assert!(refused[0].starts_with("TrustBundle default: roots is empty: "), "{refused:?}");
        assert!(refused[1].starts_with("TrustBundle default: roots[0] is "), "{refused:?}");
        assert!(refused[2].starts_with("TrustBundle default: revoked[0].tag is 1 bytes: "), "{refused:?}");
        assert_eq!(scene.node.trust.current().roots.len(), 1);
    });
}

#[test]
fn what_the_controller_refuses_to_sign_is_said_and_tried_again() {
    scene(async |scene| {
        scene.controller.refuse_to_sign(Some("pod uid-teller is not on node n1"));
        tell_bank(&scene.controller).await;
        let id = TELLER.parse().unwrap();
        let said = || scene.node.identities.certificate(&id).err().map(|error| error.to_string());
        until("the reason", || said().is_some_and(|text| text.contains("is not on node n1"))).await;
        scene.controller.refuse_to_sign(None);
        until("the certificate", || certificate_of(&scene, TELLER).is_some()).await;
    });
}

#[test]
fn a_relay_that_starts_while_the_controller_is_away_enforces_the_snapshot() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        let snapshot = scene.directory.join("snapshot");
        until("the snapshot", || snapshot.exists()).await;
        assert_eq!(std::fs::metadata(&snapshot).unwrap().permissions().mode() & 0o777, 0o600);
        scene.controller.stop();

        let second = scene.directory.join("second");
        std::fs::create_dir(&second).unwrap();
        std::fs::copy(&snapshot, second.join("snapshot")).unwrap();
        let wire = super::FakeWire::start(&second.join("wire.sock"));
        let node = start_in(&scene, &second).await;
        until("the state", || wire.held().synced).await;
        assert_eq!(wire.held().pods, scene.wire.held().pods);
        assert_eq!(wire.held().services.len(), 1);
        assert!(node.discovery.restored.get());
        assert!(node.discovery.age(std::time::SystemTime::now()).is_some());
        let tomorrow = std::time::SystemTime::now() + Duration::from_secs(86400);
        assert!(node.discovery.stale(tomorrow).unwrap().contains("goes on being enforced"));

        // The controller is back: only what changed is told.
        let acknowledged = scene.controller.acknowledged().len();
        scene.controller.write_join_file(&scene.directory.join("join"), "n1");
        scene.controller.serve(&scene.directory.join("ads.sock"));
        until("a stream", || node.discovery.connected.get()).await;
        until("it is confirmed", || !node.discovery.restored.get()).await;
        assert_eq!(scene.controller.acknowledged().len(), acknowledged);
        let (_, status) = http(&second, "GET /status").await;
        assert_eq!(status["resources"]["Workload"], 2, "{status}");
    });
}

#[test]
fn a_damaged_snapshot_is_ignored_aloud() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        let snapshot = scene.directory.join("snapshot");
        until("the snapshot", || snapshot.exists()).await;
        scene.controller.stop();
        let second = scene.directory.join("second");
        std::fs::create_dir(&second).unwrap();
        let mut bytes = std::fs::read(&snapshot).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(second.join("snapshot"), bytes).unwrap();
        let node = start_in(&scene, &second).await;
        assert!(!node.discovery.restored.get());
        assert_eq!(node.desired.borrow().workloads().count(), 0);
        let trouble = node.discovery.snapshot_trouble.borrow().clone();
        assert!(trouble.contains("damaged or changed"), "{trouble}");
    });
}

/// A second relay of the same node, in a directory of its own.
async fn start_in(scene: &Scene, directory: &std::path::Path) -> Rc<super::Node> {
    let options = Options { run_dir: directory.to_owned(), ..super::options(&scene.directory) };
    start(&options).await.unwrap()
}

#[test]
fn a_node_that_joined_needs_no_join_file_again_where_its_key_stays_in_memory() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let kept = memory.path().join("node.pem");
        let first = start_joining(&scene, memory.path()).await;
        until("the key", || kept.exists()).await;
        assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        until("a stream", || first.discovery.connected.get()).await;
        // The token is spent, and the next run comes up all the same.
        let joins = || scene.controller.signed().iter().filter(|name| *name == NODE).count();
        let before = joins();
        let second = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::copy(&kept, second.path().join("node.pem")).unwrap();
        let node = start_in(&scene, second.path()).await;
        until("a stream", || node.discovery.connected.get()).await;
        assert_eq!(joins(), before);
        assert!(!scene.directory.join("node.pem").exists() || is_in_memory(&scene.directory));
    });
}

#[test]
fn a_controller_that_begins_anew_is_joined_anew() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        scene.controller.stop();
        let other = super::Controller::start(&scene.directory.join("ads.sock"));
        until("the refusal", || scene.node.discovery.trouble.borrow().contains("does not chain to a root"))
            .await;
        assert!(other.signed().is_empty());
        other.write_join_file(&scene.directory.join("join"), "n1");
        until("the node joins", || other.signed().first().is_some_and(|name| name == NODE)).await;
        other.send(&[("default", other.trust_bundle())], &[]).await;
        let issuer = other.trust_bundle().issuer_key_id;
        until("the new issuer's", || {
            let certificate = scene.node.identities.certificate(&TELLER.parse().unwrap());
            certificate.is_ok_and(|certificate| certificate.issuer_key_id == issuer)
        })
        .await;
    });
}

#[test]
fn a_node_goes_on_when_the_trust_domain_changes() {
    const RENAMED: &str = "spiffe://example.org/mesh/node/n1";
    scene(async |scene| {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let node = start_joining(&scene, memory.path()).await;
        until("a stream", || node.discovery.connected.get()).await;
        tell_bank(&scene.controller).await;
        until("the trust", || node.trust.current().trust_domain == "cluster.local").await;

        scene.controller.rename("example.org");
        scene.controller.send(&[("default", scene.controller.trust_bundle())], &[]).await;
        // Its certificate is of the domain of before, and long before its end.
        let signed = |name: &str| scene.controller.signed().iter().any(|signed| signed == name);
        until("the certificate of the new domain", || signed(RENAMED)).await;

        // The controller shows another name from now on.
        scene.controller.stop();
        until("the break", || !node.discovery.connected.get()).await;
        scene.controller.serve(&scene.directory.join("ads.sock"));
        until("a stream", || node.discovery.connected.get()).await;

        // And so does the next run, with what is kept.
        let kept = std::fs::read_to_string(memory.path().join("node.pem")).unwrap();
        assert!(kept.contains("BEGIN TRUST DOMAIN"));
        let second = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(second.path().join("node.pem"), kept).unwrap();
        let node = start_in(&scene, second.path()).await;
        until("a stream", || node.discovery.connected.get()).await;
    });
}

#[test]
fn trust_is_acknowledged_when_it_is_kept_and_waits_for_nothing_else() {
    scene(async |scene| {
        let acknowledged = |kind: &str| {
            let all = scene.controller.acknowledged();
            all.iter().filter(|request| request.type_url.ends_with(kind)).count()
        };
        scene.controller.send(&[("default", scene.controller.trust_bundle())], &[]).await;
        until("it is in force", || scene.node.trust.current().trust_domain == "cluster.local").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(acknowledged("TrustBundle"), 0, "after a restart the node would not know it");
        tell_bank(&scene.controller).await;
        until("both", || acknowledged("TrustBundle") == 2).await;
        assert!(scene.directory.join("snapshot").exists());
    });
}

#[test]
fn a_spent_token_says_what_to_do() {
    scene(async |scene| {
        until("it joined", || !scene.controller.signed().is_empty()).await;
        let second = scene.directory.join("second");
        std::fs::create_dir(&second).unwrap();
        let node = start_in(&scene, &second).await;
        let trouble = || node.discovery.trouble.borrow().clone();
        until("the refusal", || trouble().contains("the token was used already")).await;
        assert!(trouble().contains("`meshctl ca join NODE`"), "{}", trouble());
    });
}

fn is_in_memory(directory: &std::path::Path) -> bool {
    nix::sys::statfs::statfs(directory).unwrap().filesystem_type() == nix::sys::statfs::TMPFS_MAGIC
}

/// The same, with a join file of its own.
async fn start_joining(scene: &Scene, directory: &std::path::Path) -> Rc<super::Node> {
    let join = directory.join("join");
    scene.controller.write_join_file(&join, "n1");
    let options =
        Options { run_dir: directory.to_owned(), join: Some(join), ..super::options(&scene.directory) };
    start(&options).await.unwrap()
}
