//! Random policies, callers and requests over a small world, so that they meet often.

use std::sync::Arc;

use http::{HeaderName, Method};
use proptest::prelude::*;
use proptest::sample::select;

use crate::access::Policy;
use crate::access::rule::{Action, GrpcRule, HttpRule, Requests, Rule, Tier};
use crate::matching::{HeaderMatch, PathMatch, ValueMatch};

/// A policy, a caller by the rules that match it, and what it asks.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) policy: Policy,
    pub(super) matching: Vec<bool>,
    pub(super) proven: bool,
    pub(super) asked: Vec<Asked>,
}

#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) host: Option<&'static str>,
    pub(super) tiers: Vec<&'static str>,
}

const PATHS: [&str; 6] = ["/a", "/a/b", "/a/b/c", "/b", "/bank.Vault/Open", "/bank.Vault/Close"];

/// Cases; `by_request` with rules about requests.
pub(super) fn case(by_request: bool) -> impl Strategy<Value = Case> {
    let rules = prop::collection::vec((rule(by_request), any::<bool>()), 0..10);
    let flags =
        (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.7));
    (rules, flags, prop::collection::vec(asked(), 12)).prop_map(|(mut rules, flags, asked)| {
        // The order of the message: tiers, and in the access tier every Deny first.
        rules.sort_by_key(|(rule, _)| (rule.tier, rule.tier == Tier::Access && rule.action != Action::Deny));
        let (rules, matching) = rules.into_iter().unzip();
        let (isolated, isolated_audit, default_deny, require_mtls, proven) = flags;
        let isolated_by = Arc::from("AccessPolicy/bank/vault");
        let policy = Policy { rules, isolated, isolated_audit, default_deny, require_mtls, isolated_by };
        Case { policy, matching, proven, asked }
    })
}

fn rule(by_request: bool) -> impl Strategy<Value = Rule> {
    let tier = select(vec![Tier::Admin, Tier::Access, Tier::Baseline]);
    let action = select(vec![Action::Allow, Action::Deny, Action::Pass]);
    let requests = if by_request { requests().boxed() } else { Just(Requests::All).boxed() };
    (tier, action, prop::bool::weighted(0.3), requests).prop_map(|(tier, action, audit, requests)| Rule {
        tier,
        // Only the Admin tier can pass.
        action: if action == Action::Pass && tier != Tier::Admin { Action::Deny } else { action },
        audit,
        policy: Arc::from("AccessPolicy/ns/p"),
        name: Arc::from("r"),
        requests,
    })
}

fn requests() -> impl Strategy<Value = Requests> {
    let some = (prop::collection::vec(http(), 0..3), prop::collection::vec(grpc(), 0..2))
        .prop_filter("an empty list is no match", |(http, grpc)| !http.is_empty() || !grpc.is_empty())
        .prop_map(|(http, grpc)| Requests::Some { http, grpc });
    prop_oneof![3 => Just(Requests::All), 1 => Just(Requests::None), 5 => some]
}

fn http() -> impl Strategy<Value = HttpRule> {
    let path = (any::<bool>(), select(&PATHS[..])).prop_map(|(exact, path)| {
        if exact { PathMatch::exact(path).unwrap() } else { PathMatch::prefix(path).unwrap() }
    });
    let value = prop_oneof![
        2 => select(vec!["gold", "iron"]).prop_map(|value| ValueMatch::Exact(value.into())),
        1 => Just(ValueMatch::Present),
    ];
    let header = value.prop_map(|value| HeaderMatch { name: HeaderName::from_static("x-tier"), value });
    let methods = prop::collection::vec(method(), 0..2);
    (methods, prop::collection::vec(path, 0..3), prop::collection::vec(header, 0..2))
        .prop_map(|(methods, paths, headers)| HttpRule { methods, paths, headers, hosts: Vec::new() })
}

fn grpc() -> impl Strategy<Value = GrpcRule> {
    let name = |name: &'static str| prop::option::of(Just(name.to_owned()));
    (name("bank.Vault"), name("Open")).prop_map(|(service, method)| GrpcRule { service, method })
}

fn method() -> impl Strategy<Value = Method> {
    select(vec![Method::GET, Method::POST])
}

fn asked() -> impl Strategy<Value = Asked> {
    let path = prop_oneof![
        4 => select(&PATHS[..]).prop_map(str::to_owned),
        1 => (select(&PATHS[..]), select(vec!["/x", "%2fx", "%2Fb", "x", "%252F", ";x", ";x/b", "%2Fb;x"]))
            .prop_map(|(path, more)| format!("{path}{more}")),
        1 => Just("/bank.Vault%2FOpen".to_owned()),
    ];
    let tiers = prop::collection::vec(select(vec!["gold", "iron"]), 0..3);
    (method(), path, tiers).prop_map(|(method, path, tiers)| Asked { method, path, host: None, tiers })
}
