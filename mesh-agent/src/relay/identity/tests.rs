//! Identities on a clock of the test.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::certificates::CertificateReply;
use proptest::prelude::*;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::{Identities, Issuer, NoCertificate, Schedule, run};
use crate::relay::tls::testing::{Authority, Wanted};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

proptest! {
    /// Whatever happens, the next attempt is neither at once nor later than it may be.
    #[test]
    fn a_renewal_is_due_around_half_of_its_life(life in 10..1_000_000_u64, random: u64) {
        let mut schedule = Schedule::new(at(0));
        prop_assert!(schedule.is_due(at(0)));
        schedule.asked();
        prop_assert!(!schedule.is_due(at(life)));
        schedule.issued(at(0), at(life), at(0), random);
        prop_assert!(schedule.due() <= at(0) + Duration::from_secs(life) / 2);
        prop_assert!(schedule.due() >= at(0) + Duration::from_secs(life) * 2 / 5 - Duration::from_secs(1));
    }

    #[test]
    fn failures_wait_longer_and_longer_up_to_a_minute(attempts in 1..40_u32, random: u64) {
        let mut schedule = Schedule::new(at(0));
        for _ in 0..attempts {
            schedule.asked();
            schedule.failed("refused".into(), at(0), random);
        }
        let full = Duration::from_millis(500 << (attempts - 1).min(20)).min(Duration::from_secs(60));
        prop_assert!(schedule.due() >= at(0) + full / 2 && schedule.due() <= at(0) + full);
        prop_assert_eq!(schedule.attempts(), attempts);
        prop_assert_eq!(schedule.trouble(), "refused");
        schedule.hurry(at(0), random);
        prop_assert!(schedule.due() <= at(0) + Duration::from_millis(500));
    }

    #[test]
    fn a_new_issuer_brings_every_renewal_forward_by_different_moments(random: u64) {
        let mut schedule = Schedule::new(at(0));
        schedule.issued(at(0), at(86400), at(0), random);
        schedule.reissue(at(100), random);
        prop_assert!(schedule.due() >= at(100) && schedule.due() <= at(103));
    }
}

#[test]
fn a_clock_that_is_far_ahead_does_not_make_it_ask_without_pause() {
    let mut schedule = Schedule::new(at(0));
    schedule.issued(at(0), at(10), at(1_000_000), 0);
    assert!(!schedule.is_due(at(1_000_000)) && schedule.is_due(at(1_000_001)));
}

/// An issuer that signs what the test lets it.
struct FakeIssuer {
    authority: RefCell<Authority>,
    /// Seconds a certificate lives.
    life: Cell<u64>,
    refusing: Cell<bool>,
    asked: RefCell<Vec<String>>,
    at_once: Cell<usize>,
    most_at_once: Cell<usize>,
    reachable: watch::Sender<bool>,
}

impl FakeIssuer {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            authority: RefCell::new(Authority::new("cluster.local")),
            life: Cell::new(3600),
            refusing: Cell::new(false),
            asked: RefCell::default(),
            at_once: Cell::new(0),
            most_at_once: Cell::new(0),
            reachable: watch::Sender::new(true),
        })
    }

    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

impl Issuer for FakeIssuer {
    async fn issue(&self, pod_uid: &str, csr: Vec<u8>) -> Result<CertificateReply, String> {
        self.asked.borrow_mut().push(pod_uid.to_owned());
        self.at_once.set(self.at_once.get() + 1);
        self.most_at_once.set(self.most_at_once.get().max(self.at_once.get()));
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.at_once.set(self.at_once.get() - 1);
        if self.refusing.get() {
            return Err("not today".to_owned());
        }
        let account = pod_uid.split('-').next().unwrap();
        let authority = self.authority.borrow();
        let now = SystemTime::now();
        let life = Duration::from_secs(self.life.get());
        let wanted = Wanted {
            not_before: now,
            not_after: now + life,
            ..Wanted::new(&authority.id(account).to_string())
        };
        Ok(authority.sign(&csr, &wanted))
    }

    fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }
}

struct Scene {
    identities: Arc<Identities>,
    trust: Arc<crate::relay::tls::Trust>,
    issuer: Rc<FakeIssuer>,
}

fn scene<F: Future<Output = ()>>(test: impl FnOnce(Scene) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let issuer = FakeIssuer::new();
        let trust = issuer.authority.borrow().trust();
        let identities = Arc::new(Identities::default());
        tokio::task::spawn_local(run(Arc::clone(&identities), Arc::clone(&trust), Rc::clone(&issuer)));
        let test = test(Scene { identities, trust, issuer });
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test took too long");
    });
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came: {what}");
}

#[test]
fn one_certificate_serves_every_pod_of_an_identity() {
    scene(async |scene| {
        let id = scene.issuer.authority.borrow().id("teller");
        assert_eq!(scene.identities.certificate(&id).unwrap_err(), NoCertificate::NotHere(id.clone()));
        scene.identities.want(&id, "teller-1");
        assert_eq!(scene.identities.certificate(&id).unwrap_err(), NoCertificate::Awaited(id.clone()));
        scene.identities.want(&id, "teller-2");
        let mut changed = scene.identities.changed();
        changed.changed().await.unwrap();
        let certificate = scene.identities.certificate(&id).unwrap();
        assert_eq!(certificate.id, id);
        assert_eq!(scene.issuer.asked(), 1);
        scene.identities.unwant(&id, "teller-1");
        assert!(scene.identities.certificate(&id).is_ok());
        scene.identities.unwant(&id, "teller-2");
        assert!(scene.identities.certificate(&id).is_err(), "the key is forgotten with the last pod");
    });
}

#[test]
fn a_renewal_that_fails_leaves_the_old_one_until_it_ends() {
    scene(async |scene| {
        scene.issuer.life.set(4);
        let id = scene.issuer.authority.borrow().id("teller");
        scene.identities.want(&id, "teller-1");
        until("the first", || scene.identities.certificate(&id).is_ok()).await;
        let serial_of = || scene.identities.standing()[0].certificate.as_ref().unwrap().not_after;
        let first = serial_of();
        scene.issuer.refusing.set(true);
        until("failed renewals", || scene.identities.standing()[0].attempts >= 2).await;
        assert!(scene.identities.certificate(&id).is_ok(), "the old one counts");
        until("its end", || scene.identities.certificate(&id).is_err()).await;
        let error = scene.identities.certificate(&id).unwrap_err();
        assert!(matches!(&error, NoCertificate::Expired { why, .. } if why == "not today"), "{error}");
        scene.issuer.refusing.set(false);
        scene.issuer.reachable.send_replace(true);
        until("the next", || scene.identities.certificate(&id).is_ok()).await;
        assert!(serial_of() > first);
    });
}

#[test]
fn a_new_issuer_renews_everything_within_seconds() {
    scene(async |scene| {
        let ids: Vec<_> =
            (0..20).map(|number| scene.issuer.authority.borrow().id(&format!("a{number}"))).collect();
        for id in &ids {
            scene.identities.want(id, &format!("{}-1", id.service_account()));
        }
        until("all", || ids.iter().all(|id| scene.identities.certificate(id).is_ok())).await;
        assert!(scene.issuer.most_at_once.get() <= 8, "{} at once", scene.issuer.most_at_once.get());
        scene.issuer.authority.replace(Authority::new("cluster.local"));
        let issuer = scene.issuer.authority.borrow().issuer_key_id.clone();
        scene.trust.replace(Arc::new(scene.issuer.authority.borrow().bundle()));
        let renewed = |id| scene.identities.certificate(id).unwrap().issuer_key_id == issuer;
        until("all renewed", || ids.iter().all(renewed)).await;
        assert_eq!(scene.issuer.asked(), 40, "each once");
    });
}

#[test]
fn a_certificate_for_another_name_is_not_taken() {
    scene(async |scene| {
        let id = scene.issuer.authority.borrow().id("teller");
        scene.identities.want(&id, "clerk-1");
        until("the refusal", || scene.identities.standing()[0].attempts > 0).await;
        let error = scene.identities.certificate(&id).unwrap_err().to_string();
        assert!(error.contains("issued `spiffe://cluster.local/ns/bank/sa/clerk` where"), "{error}");
    });
}
