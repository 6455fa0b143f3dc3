//! The destination's decision: whether a request may come in.
//!
//! The policy is asked with every request, whoever the client is and however it came. What was let in
//! is asked again whenever the policy changes, and ended when the answer is another (SEMANTICS 5.5).

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{FutureExt, LocalBoxFuture};
use http::StatusCode;
use mesh_l7::access::denial::{Caller, denied_by};
use mesh_l7::access::{AtConnect, Connection, Verdict};
use mesh_l7::request::Request;
use tokio::sync::watch;

use super::decide::{Asked, Backend, Decide, Decision, Forward, Refusal};
use super::record::Ending;
use super::record::Labels;
use super::rest::{GATHER, Rest};

/// The policy of the pod, as it is for one caller.
pub(crate) trait Access {
    /// What it says now; `None` where it is not there (yet).
    fn now(&self) -> Option<Connection>;

    /// Told whenever it may have changed.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// The guard of one connection.
pub(crate) struct Guard<A> {
    access: Rc<A>,
    /// Whether the caller is proven (SEMANTICS 2.1), and so is told policy and rule.
    proven: bool,
    /// The pod itself.
    pod: Arc<Backend>,
}

impl<A: Access + 'static> Guard<A> {
    /// In front of `pod`, whose one endpoint is its own.
    pub(crate) fn new(access: A, proven: bool, pod: Arc<Backend>) -> Self {
        Self { access: Rc::new(access), proven, pod }
    }

    /// Waits until the request would be refused.
    fn revoked(&self, request: Rest) -> LocalBoxFuture<'static, Refusal> {
        let (access, proven) = (Rc::clone(&self.access), self.proven);
        let mut changed = access.changed();
        async move {
            loop {
                if changed.changed().await.is_err() {
                    return std::future::pending().await;
                }
                tokio::time::sleep(GATHER).await;
                changed.borrow_and_update();
                let refused = match access.now() {
                    None => Err(missing()),
                    Some(connection) => judge(&connection, &request.as_request(), proven).map(drop),
                };
                if let Err(denied) = refused {
                    return Refusal { ending: Ending::Revoked, ..denied.1 };
                }
            }
        }
        .boxed_local()
    }
}

type Denied = Box<(Labels, Refusal)>;

/// What the policy says of a request.
fn judge(connection: &Connection, request: &Request<'_>, proven: bool) -> Result<Labels, Denied> {
    let policy = connection.policy();
    let Verdict { allowed, by, audit_denies, audit_by } = connection.request(request);
    let names = policy.names(by);
    let mut labels = Labels {
        policy: names.map(|(policy, _)| policy.into()),
        policy_rule: names.map(|(_, rule)| rule.into()),
        ..Labels::default()
    };
    if allowed {
        let audit = policy.names(audit_by).filter(|_| audit_denies);
        labels.audit = audit.map(|(policy, rule)| format!("{policy} {rule}").into());
        return Ok(labels);
    }
    let id = format!("{:016x}", RandomState::new().hash_one(0));
    let caller = if proven { Caller::Proven } else { Caller::Unproven(&id) };
    let mut refusal =
        Refusal::new(StatusCode::FORBIDDEN, Ending::Denied, "the policy of this workload denies the request");
    refusal.denied_by = Some(denied_by(policy, by, caller));
    labels.denial = (!proven).then(|| id.into());
    Err(Box::new((labels, refusal)))
}

/// A policy that is not there denies.
fn missing() -> Denied {
    let message = "the policy of this workload is not known yet";
    Box::new((Labels::default(), Refusal::new(StatusCode::FORBIDDEN, Ending::Denied, message)))
}

impl<A: Access + 'static> Decide for Guard<A> {
    fn decide(&self, asked: &mut Asked<'_>, _: &dyn Fn() -> u64) -> Decision {
        let Some(connection) = self.access.now() else {
            let denied = missing();
            return Decision::Refuse(denied.0, denied.1);
        };
        // A policy that looks at no request now may after a change: then by what it mostly looks at.
        let fields = connection.at_connect() == AtConnect::ByRequest;
        let rest = Rest::new(asked.head, asked.path.clone(), asked.host.cloned(), fields);
        let request = Request::new(
            asked.head.method(),
            asked.path,
            asked.head.uri().query(),
            asked.head.headers(),
            asked.host,
        );
        match judge(&connection, &request, self.proven) {
            Err(denied) => Decision::Refuse(denied.0, denied.1),
            Ok(labels) => Decision::Forward(Box::new(Forward {
                labels,
                backend: Arc::clone(&self.pod),
                timeouts: mesh_l7::timeouts::Timeouts::default(),
                retry: None,
                mirrors: Vec::new(),
                answer: None,
                endpoint: Rc::default(),
                revoked: Some(self.revoked(rest)),
            })),
        }
    }
}

#[cfg(test)]
mod tests;
