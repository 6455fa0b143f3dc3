//! Two controllers of a cluster: who leads, and what the next one signs with.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{Cluster, Leadership, lease::Standing, secret};
use crate::{
    build::Builder,
    ca::{Account, Authority, Directories, Keep, KeepError, Timestamp},
    pipeline::Shared,
    source::{
        Kubernetes, Source as _,
        api::{Api, World},
    },
};

const SECRETS: &str = "/api/v1/secrets";

fn state(api: &Api, me: &str) -> Arc<secret::State> {
    Arc::new(secret::State::new(api.client(), "mesh-system", me.to_owned()))
}

/// Calls wait, and must not do so where the runtime is driven.
async fn load(state: &Arc<secret::State>) -> Result<Option<String>, KeepError> {
    let state = state.clone();
    tokio::task::spawn_blocking(move || state.load()).await.unwrap()
}

async fn save(state: &Arc<secret::State>, text: &'static str) -> Result<(), KeepError> {
    let state = state.clone();
    tokio::task::spawn_blocking(move || state.save(text)).await.unwrap()
}

fn is_overtaken(state: &secret::State) -> bool {
    *state.overtaken().borrow()
}

#[tokio::test]
async fn the_state_is_made_once_and_read_by_the_next() {
    let api = Api::start(World::default()).await;
    let (a, b) = (state(&api, "a"), state(&api, "b"));
    assert_eq!(a.place(), "Secret mesh-system/mesh-authority");
    assert_eq!(load(&a).await.unwrap(), None);
    assert_eq!(load(&b).await.unwrap(), None);
    save(&a, "1").await.unwrap();
    save(&a, "2").await.unwrap();
    // The other one found none either, and is too late.
    let error = save(&b, "3").await.unwrap_err().to_string();
    assert!(error.contains("mesh-authority cannot be written: another controller has written it"), "{error}");
    assert!(is_overtaken(&b) && !is_overtaken(&a));
    let c = state(&api, "c");
    assert_eq!(load(&c).await.unwrap().as_deref(), Some("2"));
    let secret = api.world.object(SECRETS, "mesh-system", "mesh-authority").unwrap();
    assert_eq!(secret["type"], "mesh.internal/authority");
    assert_eq!(secret["data"], json!({"state.json": "Mg=="}));
    assert_eq!(secret["metadata"]["annotations"]["mesh.internal/written-by"], "c");
}

#[tokio::test]
async fn who_takes_over_is_the_only_one_to_write() {
    let api = Api::start(World::default()).await;
    let (a, b) = (state(&api, "a"), state(&api, "b"));
    load(&a).await.unwrap();
    save(&a, "1").await.unwrap();
    assert_eq!(load(&b).await.unwrap().as_deref(), Some("1"));
    // Though the text is the same.
    assert!(save(&a, "1").await.is_err() && is_overtaken(&a));
    save(&b, "2").await.unwrap();
}

#[tokio::test]
async fn an_answer_that_gets_lost_and_a_secret_that_is_removed_lose_nothing() {
    let api = Api::start(World::default()).await;
    let a = state(&api, "a");
    load(&a).await.unwrap();
    for text in ["1", "2"] {
        api.world.lose_answer();
        assert!(save(&a, text).await.is_err() && !is_overtaken(&a));
        // Not before it has rested.
        sleep(Duration::from_millis(600)).await;
        save(&a, text).await.unwrap();
    }
    api.world.remove(SECRETS, "mesh-system", "mesh-authority");
    save(&a, "3").await.unwrap();
    assert_eq!(load(&state(&api, "b")).await.unwrap().as_deref(), Some("3"));
}

#[tokio::test]
async fn what_may_not_be_written_says_which_right_is_missing_and_is_no_storm() {
    let api = Api::start(World::default()).await;
    let a = state(&api, "a");
    load(&a).await.unwrap();
    api.world.forbid(Some("secrets"));
    for _ in 0..50 {
        let error = save(&a, "1").await.unwrap_err().to_string();
        assert!(error.contains("check the Role of the controller (get and update secrets"), "{error}");
    }
    let tried = api.world.requests().iter().filter(|request| request.ends_with("POST")).count();
    assert!(tried <= 2, "{tried}");
    api.world.forbid(None);
    sleep(Duration::from_millis(600)).await;
    save(&a, "1").await.unwrap();
    // What is there and says nothing is not taken for none.
    api.world.put(SECRETS, "mesh-system", "mesh-authority", json!({"data": {}}));
    let error = load(&state(&api, "b")).await.unwrap_err().to_string();
    assert!(error.contains("it has no key state.json"), "{error}");
}

/// A whole controller of the cluster, but for what agents connect to.
struct Controller {
    shared: Shared,
    authority: Arc<Authority>,
    leadership: Option<Leadership>,
    _directory: tempfile::TempDir,
    source: Kubernetes,
    builder: Builder,
}

impl Controller {
    fn start(api: &Api, host: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let account = Account { namespace: "mesh-system".to_owned(), name: "mesh-agent".to_owned() };
        let cluster = Cluster::new(api.client(), account, host);
        let shared = Shared::default();
        let directories = Directories {
            authority: directory.path().join("ca"),
            join: directory.path().join("join"),
            agent_uid: None,
            join_ttl: Duration::from_secs(60),
        };
        let authority = Authority::stand_by(directories, shared.placements.clone(), cluster.keep()).unwrap();
        let authority = Arc::new(authority.with_agents(cluster.agents()));
        let (source, leadership) = cluster.follow(&shared, &authority);
        Self {
            shared,
            authority,
            leadership: Some(leadership),
            _directory: directory,
            source,
            builder: Builder::default(),
        }
    }

    /// Builds what the source has, until something of it was built.
    async fn build(&mut self) {
        while *self.shared.store.sequence().borrow() == 0 {
            let next = self.source.now();
            self.shared.take(&mut self.builder, next);
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn won(&self) -> impl Future<Output = ()> + use<> {
        self.leadership.as_ref().unwrap().won(self.authority.clone())
    }

    async fn root(&self) -> Vec<Vec<u8>> {
        let mut trust = self.authority.trust();
        let trust = timeout(Duration::from_secs(10), trust.wait_for(Option::is_some)).await.unwrap().unwrap();
        trust.as_ref().unwrap().bundle().roots.clone()
    }
}

#[tokio::test]
async fn one_leads_and_the_next_signs_with_the_same_root() {
    let world = World::default().with_definitions();
    world.put("/api/v1/nodes", "", "n1", json!({}));
    let api = Api::start(world).await;
    let mut a = Controller::start(&api, "a");
    let standing =
        |controller: &Controller| controller.leadership.as_ref().unwrap().standing.borrow().clone();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(standing(&a), Standing::Standby, "it has built nothing yet");
    assert!(a.authority.report(Timestamp::now()).problem.unwrap().contains("stands by"));
    a.build().await;
    timeout(Duration::from_secs(10), a.won()).await.unwrap();
    let shared = Arc::new(std::mem::take(&mut a.shared));
    tokio::spawn(crate::ca::run(a.authority.clone(), shared.clone()));
    let root = a.root().await;

    let mut b = Controller::start(&api, "b");
    b.build().await;
    let won = b.won();
    tokio::pin!(won);
    assert!(timeout(Duration::from_secs(4), &mut won).await.is_err(), "the first one leads");
    let lost = a.leadership.as_ref().unwrap().lost();
    timeout(Duration::from_secs(5), a.leadership.take().unwrap().give_back()).await.unwrap();
    timeout(Duration::from_secs(5), &mut won).await.expect("a lease that was given back is taken soon");
    let shared = Arc::new(std::mem::take(&mut b.shared));
    tokio::spawn(crate::ca::run(b.authority.clone(), shared.clone()));
    assert_eq!(b.root().await, root);

    // The first one goes on signing, but what it wants to keep is refused, and it is told.
    let former = a.authority.clone();
    let rotated = tokio::task::spawn_blocking(move || former.rotate(Timestamp::now()));
    rotated.await.unwrap().unwrap_err();
    let by = timeout(Duration::from_secs(5), lost).await.unwrap();
    assert!(by.contains("has written the authority's state"), "{by}");
}

#[tokio::test]
async fn a_holder_stops_when_it_sees_another_and_not_when_the_server_is_away() {
    let mut api = Api::start(World::default().with_definitions()).await;
    let mut a = Controller::start(&api, "a");
    a.build().await;
    timeout(Duration::from_secs(10), a.won()).await.unwrap();
    let lost = a.leadership.as_ref().unwrap().lost();
    tokio::pin!(lost);
    api.stop().await;
    assert!(timeout(Duration::from_secs(3), &mut lost).await.is_err());
    let lease = json!({"spec": {"holderIdentity": "b_1", "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.000000Z"}});
    api.world.put("/apis/coordination.k8s.io/v1/leases", "mesh-system", "mesh-control", lease);
    api.restart().await;
    assert_eq!(timeout(Duration::from_secs(10), lost).await.unwrap(), "b_1");
}
