//! What the kernel leaves to be decided by request: the same rules that the engine asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_ebpf::abi::{Reason, TCP, Workload as Flags};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{Direction, Peer, Question};
use mesh_l7::access::{Connection, Decider};

use super::Rule;
use crate::relay::access::Rules;
use crate::relay::engine::rest::Rest;
use crate::relay::node::Node;
use crate::relay::resource::Mtls;
use crate::relay::world::Resident;

/// What one direction says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is decided without requests: what the kernel says.
    Kernel,
    /// It depends on the request, and none was given: the rules that are about requests.
    Depends(Vec<Rule>),
    /// It may be; by what, and what would deny it if it were not in Audit mode.
    Allowed { by: Rule, audit: Option<Rule> },
    /// It may not.
    Denied { by: Rule, reason: Reason },
}

/// What the egress policy of a pod of this node says of a request to an endpoint.
pub(super) fn egress(node: &Node, source: IpAddr, to: SocketAddr, request: Option<&Rest>) -> Said {
    let Some(pod) = resident(node, source) else { return Said::Kernel };
    let there = node.world.whereabouts(to.ip());
    let peer = Peer::Proven(there.map_or(0, |there| there.group));
    let question = Question { peer, address: Address::from(to.ip()), protocol: TCP, port: to.port() };
    if !pod.egress.decide(&question).deferred {
        return Said::Kernel;
    }
    let Some(rules) = &pod.rules else { return missing() };
    let proven = there.is_some_and(|there| there.flags & Flags::ENROLLED != 0);
    match ask(&rules.egress, &question, Direction::Egress, request) {
        (Said::Allowed { by, .. }, Some(decider))
            if !proven && rules.egress.mtls(decider) == Mtls::Required =>
        {
            Said::Denied { by, reason: Reason::EgressMtlsRequired }
        }
        (said, _) => said,
    }
}

/// What the ingress policy of a pod of this node says of a request of `source`. `tunnel` is whether it
/// came, or would come, through one.
pub(super) fn ingress(
    node: &Node,
    source: IpAddr,
    to: SocketAddr,
    tunnel: bool,
    request: Option<&Rest>,
) -> Said {
    let Some(pod) = resident(node, to.ip()) else { return Said::Kernel };
    let peer = peer(node, source, tunnel);
    let question = Question { peer, address: Address::from(source), protocol: TCP, port: to.port() };
    if !pod.ingress.decide(&question).deferred {
        return Said::Kernel;
    }
    let Some(rules) = &pod.rules else { return missing() };
    ask(&rules.ingress, &question, Direction::Ingress, request).0
}

/// Who comes: the kernel's word within the node, mTLS between nodes, else nobody's.
fn peer(node: &Node, source: IpAddr, tunnel: bool) -> Peer {
    match node.world.whereabouts(source) {
        Some(there) if there.flags & Flags::ENROLLED != 0 => {
            let here = there.flags & Flags::LOCAL != 0;
            let proven = tunnel || !here || node.world.has_local_proof();
            if proven { Peer::Proven(there.group) } else { node.world.claimed(source) }
        }
        _ => node.world.claimed(source),
    }
}

fn resident(node: &Node, address: IpAddr) -> Option<Arc<Resident>> {
    let uid = {
        let desired = node.desired.borrow();
        let mut there = desired.workloads_at(address).filter(|workload| workload.local.is_some());
        there.next().map(|workload| workload.uid.clone())?
    };
    node.world.resident(&uid)
}

fn ask(
    rules: &Rules,
    question: &Question,
    direction: Direction,
    request: Option<&Rest>,
) -> (Said, Option<Decider>) {
    let connection = rules.connection(question);
    let Some(request) = request else {
        let rules = connection.by_request().map(|(policy, rule)| Rule::new(policy, rule));
        return (Said::Depends(rules.collect()), None);
    };
    let verdict = connection.request(&request.as_request());
    let by = named(&connection, verdict.by, direction);
    if !verdict.allowed {
        return (Said::Denied { by, reason: reason(verdict.by) }, Some(verdict.by));
    }
    let audit = verdict.audit_denies.then(|| named(&connection, verdict.audit_by, direction));
    (Said::Allowed { by, audit }, Some(verdict.by))
}

fn named(connection: &Connection, by: Decider, direction: Direction) -> Rule {
    match (connection.policy().names(by), by, direction) {
        (Some((policy, rule)), ..) => Rule::new(policy, rule),
        (None, Decider::Floor, _) => Rule::new("MeshConfig/default", "defaults.mtls"),
        (None, _, Direction::Ingress) => Rule::new("MeshConfig/default", "defaults.access"),
        (None, _, Direction::Egress) => Rule::new("MeshConfig/default", "defaults.egress.access"),
    }
}

const fn reason(by: Decider) -> Reason {
    match by {
        Decider::Rule(_) => Reason::PolicyDenied,
        Decider::Isolation => Reason::NoRuleAllows,
        Decider::Default => Reason::DefaultDenied,
        Decider::Floor => Reason::MtlsRequired,
        Decider::NotHttp => Reason::L7RequiredNotHttp,
    }
}

fn missing() -> Said {
    Said::Denied { by: Rule::new("", ""), reason: Reason::PolicyMissing }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderMap, Method, Request};
    use mesh_ebpf::abi::{Reason, TCP};
    use mesh_ebpf::address::Address;
    use mesh_ebpf::policy::{Direction, Peer, Question};
    use mesh_l7::access::rule::{HttpRule, Requests};
    use mesh_l7::path::Path;

    use super::{Said, ask};
    use crate::relay::access::Rules;
    use crate::relay::admin::can::Rule as Named;
    use crate::relay::engine::rest::Rest;
    use crate::relay::resource::{Action, DirectionPolicy, Mtls, Rule, Tier};

    fn rule(name: &str, action: Action, audit: bool, methods: &[Method]) -> Rule {
        let http = vec![HttpRule { methods: methods.to_vec(), ..HttpRule::default() }];
        let requests = match methods {
            [] => Requests::All,
            _ => Requests::Some { http, grpc: Vec::new() },
        };
        Rule {
            tier: Tier::Access,
            action,
            audit,
            policy: "AccessPolicy/bank/vault".into(),
            name: name.into(),
            peers: Vec::new(),
            ports: Vec::new(),
            mtls: Mtls::Preferred,
            requests,
        }
    }

    fn said(rules: Vec<Rule>, method: Option<Method>) -> Said {
        let policy = DirectionPolicy {
            rules,
            isolated: true,
            isolated_audit: true,
            default_deny: false,
            require_mtls: false,
        };
        let rules = Rules::new(Direction::Ingress, &Arc::new(policy));
        let address = Address::v4([10, 0, 0, 1]);
        let question = Question { peer: Peer::Unknown, address, protocol: TCP, port: 80 };
        let request = method.map(|method| {
            let mut head = Request::new(());
            *head.method_mut() = method;
            *head.headers_mut() = HeaderMap::new();
            Rest::new(&head, Path::parse(b"/").unwrap(), None, true)
        });
        ask(&rules, &question, Direction::Ingress, request.as_ref()).0
    }

    #[test]
    fn a_request_is_judged_by_the_rules_and_without_one_these_are_named() {
        let rules = || {
            vec![
                rule("no-delete", Action::Deny, true, &[Method::DELETE]),
                rule("read", Action::Allow, false, &[Method::GET, Method::DELETE]),
            ]
        };
        let named = |name: &str| Named::new("AccessPolicy/bank/vault", name);
        assert_eq!(said(rules(), None), Said::Depends(vec![named("no-delete"), named("read")]));
        assert_eq!(said(rules(), Some(Method::GET)), Said::Allowed { by: named("read"), audit: None });
        assert_eq!(
            said(rules(), Some(Method::DELETE)),
            Said::Allowed { by: named("read"), audit: Some(named("no-delete")) }
        );
        let Said::Denied { by, reason: Reason::NoRuleAllows } = said(rules(), Some(Method::POST)) else {
            panic!("it is denied")
        };
        assert_eq!(by.rule, "(no rule allows)");
    }
}
