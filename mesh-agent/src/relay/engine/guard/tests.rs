use super::{Access, Guard};
use crate::relay::engine::decide::{Asked, Backend, Decide, Decision, Refusal};
use crate::relay::engine::record::Ending;
use crate::relay::engine::record::Labels;
use futures::FutureExt;
use http::{Method, Request};
use mesh_l7::access::rule::{Action, HttpRule, Requests, Rule, Tier};
use mesh_l7::access::{Connection, Policy};
use mesh_l7::matching::PathMatch;
use mesh_l7::path::Path;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;

struct Ingress {
    policy: RefCell<Option<Arc<Policy>>>,
    changed: watch::Sender<u64>,
}

impl Access for Rc<Ingress> {
    fn now(&self) -> Option<Connection> {
        let policy = self.policy.borrow().clone()?;
        Some(Connection::new(policy, true, |_| true))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl Ingress {
    fn set(&self, policy: Policy) {
        *self.policy.borrow_mut() = Some(Arc::new(policy));
        self.changed.send_modify(|version| *version += 1);
    }
}

/// Who may read below a path, and nothing else.
fn reading(path: &str, audit: bool) -> Policy {
    let http = HttpRule {
        methods: vec![Method::GET],
        paths: vec![PathMatch::prefix(path).unwrap()],
        ..HttpRule::default()
    };
    Policy {
        rules: vec![Rule {
            tier: Tier::Access,
            action: Action::Allow,
            audit,
            policy: "AccessPolicy/bank/vault".into(),
            name: "tellers".into(),
            requests: Requests::Some { http: vec![http], grpc: Vec::new() },
        }],
        isolated: !audit,
        isolated_audit: true,
        isolated_by: "AccessPolicy/bank/vault".into(),
        ..Policy::default()
    }
}

fn guard(policy: Option<Policy>, proven: bool) -> (Rc<Ingress>, Guard<Rc<Ingress>>) {
    let policy = RefCell::new(policy.map(Arc::new));
    let ingress = Rc::new(Ingress { policy, changed: watch::Sender::new(0) });
    (Rc::clone(&ingress), Guard::new(ingress, proven, Arc::new(Backend::default())))
}

fn ask(guard: &Guard<Rc<Ingress>>, method: Method, path: &str) -> Decision {
    let mut head = Request::builder().method(method).uri(path).body(()).unwrap();
    let path = Path::parse(head.uri().path().as_bytes()).unwrap();
    guard.decide(&mut Asked { head: &mut head, path: &path, host: None }, &|| 7)
}

fn refused(decision: Decision) -> (Labels, Refusal) {
    match decision {
        Decision::Refuse(labels, refusal) => (labels, refusal),
        Decision::Forward(_) | Decision::Respond(..) => panic!("it was let in"),
    }
}

#[test]
fn a_request_is_let_in_or_refused_by_policy() {
    let (_, proven) = guard(Some(reading("/api", false)), true);
    let Decision::Forward(forward) = ask(&proven, Method::GET, "/api/x") else { panic!("it was refused") };
    assert_eq!(forward.labels.policy.as_deref(), Some("AccessPolicy/bank/vault"));
    assert_eq!((forward.labels.policy_rule.as_deref(), forward.labels.audit), (Some("tellers"), None));
    for (method, path) in [(Method::POST, "/api/x"), (Method::GET, "/x"), (Method::GET, "/api/../x")] {
        let (labels, refusal) = refused(ask(&proven, method, path));
        assert_eq!((refusal.status.as_u16(), refusal.ending), (403, Ending::Denied));
        assert_eq!(refusal.denied_by.unwrap(), "AccessPolicy/bank/vault (no rule allows)");
        assert_eq!(labels.policy.as_deref(), Some("AccessPolicy/bank/vault"));
    }
}

#[test]
fn a_caller_who_is_not_proven_is_told_no_names() {
    let (_, unproven) = guard(Some(reading("/api", false)), false);
    let (labels, refusal) = refused(ask(&unproven, Method::GET, "/x"));
    let told = refusal.denied_by.unwrap().to_str().unwrap().to_owned();
    assert_eq!((told.len(), labels.denial.as_deref()), (16, Some(told.as_str())));
    assert_eq!(labels.policy.as_deref(), Some("AccessPolicy/bank/vault"), "the log has them");
}

#[test]
fn an_audit_is_told_and_no_policy_denies() {
    let (_, audited) = guard(Some(reading("/api", true)), true);
    let Decision::Forward(forward) = ask(&audited, Method::GET, "/x") else { panic!("it was refused") };
    assert_eq!(forward.labels.audit.as_deref(), Some("AccessPolicy/bank/vault (no rule allows)"));
    let (_, without) = guard(None, true);
    assert_eq!(refused(ask(&without, Method::GET, "/api")).1.ending, Ending::Denied);
}

#[tokio::test]
async fn what_is_open_is_judged_again() {
    let (ingress, guard) = guard(Some(reading("/api", false)), true);
    let Decision::Forward(forward) = ask(&guard, Method::GET, "/api/x") else { panic!("it was refused") };
    let mut revoked = forward.revoked.unwrap();
    assert!((&mut revoked).now_or_never().is_none());
    ingress.set(reading("/api/x", false));
    assert!((&mut revoked).now_or_never().is_none());
    ingress.set(reading("/other", false));
    let refusal = revoked.await;
    assert_eq!((refusal.ending, refusal.status.as_u16()), (Ending::Revoked, 403));
    assert!(refusal.denied_by.is_some());
}
