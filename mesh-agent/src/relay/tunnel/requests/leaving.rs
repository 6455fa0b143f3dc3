//! The egress policy of a pod on each of its requests, once it is known where they go.
//!
//! The kernel asks the policy of one endpoint when a connection is made; a request may go to any
//! endpoint of its backend, so each of them is asked about, and those that are denied take no part. Where
//! nothing is left the request is refused.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http::header::HOST;
use http::{HeaderValue, StatusCode};
use mesh_ebpf::abi::Workload;
use mesh_ebpf::policy::SetId;
use mesh_l7::access::denial::{Caller, denied_by};
use mesh_l7::host::Host;
use mesh_l7::path::Path;
use mesh_l7::request::Request;

use super::way::question;
use crate::relay::engine::decide::{Asked, Backend, Decide, Decision, Forward, Refusal};
use crate::relay::engine::record::{Ending, Labels, Name};
use crate::relay::engine::rest::{GATHER, Rest};
use crate::relay::resource::Mtls;
use crate::relay::world::{Resident, World};

/// What another decision leaves to be asked of the egress policy.
pub(super) struct Leaving<D> {
    decide: D,
    world: Arc<World>,
    /// UID of the pod.
    pod: Arc<str>,
}

/// What the policy says of a request to one endpoint.
enum Said {
    /// It may go; policy and rule where one decided, and what audits it.
    Allowed { by: Option<(String, String)>, audit: Option<String> },
    /// It may not; for the pod itself, which may know by what.
    Denied { by: Option<(String, String)>, text: HeaderValue },
}

impl<D: Decide> Leaving<D> {
    /// Asks the policy of a pod about what `decide` forwards.
    pub(super) fn new(decide: D, world: Arc<World>, pod: Arc<str>) -> Self {
        Self { decide, world, pod }
    }

    fn may_leave(&self, pod: &Resident, mut forward: Box<Forward>, asked: &Asked<'_>) -> Decision {
        let Some(rest) = sent(asked, true) else {
            let text = "a rewrite of the rule makes no path that policy could be asked about";
            let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Ending::BadRoute, text);
            return Decision::Refuse(forward.labels, refusal);
        };
        let request = rest.as_request();
        match self.among(pod, &forward.backend, &request) {
            Err((by, denied_by)) => {
                note(&mut forward.labels, by);
                let text = "the egress policy of this workload denies the request";
                let refusal = Refusal::new(StatusCode::FORBIDDEN, Ending::Denied, text);
                return Decision::Refuse(forward.labels, Refusal { denied_by, ..refusal });
            }
            Ok(Left { backend, by, audit }) => {
                note(&mut forward.labels, by);
                forward.labels.audit = audit;
                forward.backend = backend;
            }
        }
        forward.mirrors.retain_mut(|mirror| match self.among(pod, &mirror.backend, &request) {
            Ok(left) => {
                mirror.backend = left.backend;
                true
            }
            Err(_) => false,
        });
        forward.revoked = Some(self.revoked(rest, &forward.endpoint));
        Decision::Forward(forward)
    }

    /// The endpoints of a backend that the policy lets a request go to.
    fn among(&self, pod: &Resident, backend: &Arc<Backend>, request: &Request<'_>) -> Result<Left, Refused> {
        let mut left = Left { backend: Arc::clone(backend), by: None, audit: None };
        let mut refused = None;
        let mut kept = Vec::new();
        for (index, endpoint) in backend.endpoints.iter().enumerate() {
            match say(&self.world, pod, *endpoint, request) {
                Said::Allowed { by, audit } => {
                    kept.push(index);
                    left.by = left.by.or(by);
                    left.audit = left.audit.or_else(|| audit.map(Into::into));
                }
                Said::Denied { by, text } => {
                    refused.get_or_insert((by, Some(text)));
                }
            }
        }
        match refused {
            None => Ok(left),
            Some(refused) if kept.is_empty() => Err(refused),
            Some(_) => {
                left.backend = Arc::new(Backend {
                    name: backend.name.clone(),
                    protocol: backend.protocol,
                    balance: backend.balance,
                    weights: backend.weights.only(&kept),
                    picked: backend.picked,
                    enrolled: backend.enrolled.clone(),
                    endpoints: backend.endpoints.clone(),
                    turn: backend.turn.fetch_add(1, Ordering::Relaxed).into(),
                });
                Ok(left)
            }
        }
    }

    /// Waits until the policy denies the endpoint that the request has gone to. One that has gone itself is ended by
    /// that.
    fn revoked(
        &self,
        rest: Rest,
        endpoint: &Rc<Cell<Option<SocketAddr>>>,
    ) -> LocalBoxFuture<'static, Refusal> {
        let (world, uid, endpoint) = (Arc::clone(&self.world), Arc::clone(&self.pod), Rc::clone(endpoint));
        let mut changed = world.changed();
        async move {
            while changed.changed().await.is_ok() {
                tokio::time::sleep(GATHER).await;
                changed.borrow_and_update();
                let Some(pod) = world.resident(&uid) else { return gone() };
                let Some(at) = endpoint.get().filter(|at| world.whereabouts(at.ip()).is_some()) else {
                    continue;
                };
                if let Said::Denied { text, .. } = say(&world, &pod, at, &rest.as_request()) {
                    let why = "the egress policy of this workload has changed and denies the request";
                    let refusal = Refusal::new(StatusCode::FORBIDDEN, Ending::Revoked, why);
                    return Refusal { denied_by: Some(text), ..refusal };
                }
            }
            std::future::pending().await
        }
        .boxed_local()
    }
}

/// What is left of a backend.
struct Left {
    backend: Arc<Backend>,
    by: Option<(String, String)>,
    audit: Name,
}

type Refused = (Option<(String, String)>, Option<HeaderValue>);

fn note(labels: &mut Labels, by: Option<(String, String)>) {
    if let Some((policy, rule)) = by {
        labels.policy = Some(policy.into());
        labels.policy_rule = Some(rule.into());
    }
}

/// The request as it is sent: routes may have written its path and host anew.
fn sent(asked: &Asked<'_>, fields: bool) -> Option<Rest> {
    let path = Path::parse(asked.head.uri().path().as_bytes()).ok()?;
    let host = asked.head.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| Host::parse(host).ok());
    Some(Rest::new(asked.head, path, host, fields))
}

fn say(world: &World, pod: &Resident, endpoint: SocketAddr, request: &Request<'_>) -> Said {
    if pod.addresses.contains(&endpoint.ip()) {
        return Said::Allowed { by: None, audit: None };
    }
    let there = world.whereabouts(endpoint.ip());
    let question = question(there, endpoint);
    let verdict = pod.egress.decide(&question);
    let names =
        |number: u16| pod.egress.rule(number).map(|(policy, rule)| (policy.to_owned(), rule.to_owned()));
    if !verdict.deferred {
        if verdict.allowed {
            let audit = names(verdict.audit_rule).filter(|_| verdict.audit_denies);
            let audit = audit.map(|(policy, rule)| format!("{policy} {rule}"));
            return Said::Allowed { by: None, audit };
        }
        let by = names(verdict.rule);
        let text = by
            .as_ref()
            .map_or_else(|| "MeshConfig (default)".to_owned(), |(policy, rule)| format!("{policy} {rule}"));
        return Said::Denied { by, text: header(&text) };
    }
    let Some(rules) = &pod.rules else {
        return Said::Denied { by: None, text: header("(the policy is not known yet)") };
    };
    let connection = rules.egress.connection(&question);
    let said = connection.request(request);
    let policy = connection.policy();
    let named = |by| policy.names(by).map(|(policy, rule)| (policy.to_owned(), rule.to_owned()));
    let proven = there.is_some_and(|there| there.flags & Workload::ENROLLED != 0);
    if said.allowed && (proven || rules.egress.mtls(said.by) != Mtls::Required) {
        let audit = named(said.audit_by).filter(|_| said.audit_denies);
        return Said::Allowed {
            by: named(said.by),
            audit: audit.map(|(policy, rule)| format!("{policy} {rule}")),
        };
    }
    Said::Denied { by: named(said.by), text: denied_by(policy, said.by, Caller::Proven) }
}

fn header(text: &str) -> HeaderValue {
    let printable: String = text.chars().filter(|character| matches!(character, ' '..='~')).collect();
    HeaderValue::try_from(printable).unwrap_or_else(|_| HeaderValue::from_static("policy"))
}

fn gone() -> Refusal {
    let text = "this workload is not in the mesh any more";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Ending::Revoked, text)
}

impl<D: Decide> Decide for Leaving<D> {
    fn decide(&self, asked: &mut Asked<'_>, random: &dyn Fn() -> u64) -> Decision {
        let forward = match self.decide.decide(asked, random) {
            Decision::Forward(forward) => forward,
            decided => return decided,
        };
        match self.world.resident(&self.pod) {
            None => Decision::Refuse(forward.labels, gone()),
            Some(pod) if pod.egress.id() == SetId::EMPTY => {
                // A policy may come while it is open.
                let rest = sent(asked, false);
                let revoked = rest.map(|rest| self.revoked(rest, &forward.endpoint));
                Decision::Forward(Box::new(Forward { revoked, ..*forward }))
            }
            Some(pod) => self.may_leave(&pod, forward, asked),
        }
    }
}
