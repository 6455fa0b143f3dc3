//! The verdict against an oracle that reads the rules one by one, and against the one of L4.

mod oracle;
mod random;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::denial::{Caller, denied_by};
use super::rule::{Action, GrpcRule, HttpRule, Requests, Rule, Tier};
use super::{AtConnect, Connection, Decider, Policy, Verdict};
use crate::host::{Host, HostMatch};
use crate::matching::{HeaderMatch, PathMatch, ValueMatch};
use crate::path::Path;
use crate::request::Request;
use random::{Asked, Case};

fn connect(case: &Case) -> Connection {
    Connection::new(Arc::new(case.policy.clone()), case.proven, |rule| case.matching[rule])
}

fn ask(connection: &Connection, asked: &Asked) -> Verdict {
    let path = Path::parse(asked.path.as_bytes()).unwrap();
    let host = asked.host.map(|host| Host::parse(host).unwrap());
    let mut headers = HeaderMap::new();
    for value in &asked.tiers {
        headers.append("x-tier", HeaderValue::from_static(value));
    }
    connection.request(&Request::new(&asked.method, &path, None, &headers, host.as_ref()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn requests_are_decided_as_the_policy_says(case in random::case(true)) {
        let connection = connect(&case);
        let mut allowed = Vec::new();
        for asked in &case.asked {
            let verdict = ask(&connection, asked);
            let expected = oracle::decide(&case, |rule| oracle::about(rule, asked));
            prop_assert_eq!(verdict, expected, "{:?}", asked);
            allowed.push((verdict.allowed, verdict.audit_denies));
        }
        // What needs no request is what every request gets.
        if let AtConnect::Decided(verdict) = connection.at_connect() {
            prop_assert!(allowed.iter().all(|found| *found == (verdict.allowed, verdict.audit_denies)), "{:?}", verdict);
            let requests = match verdict.by {
                Decider::Rule(rule) => &case.policy.rules[rule].requests,
                _ => &Requests::All,
            };
            prop_assert_eq!(requests, &Requests::All);
            prop_assert_eq!(connection.not_http(), Verdict { audit_by: connection.not_http().audit_by, ..verdict });
        }
    }

    /// Every request gets the verdict of L4 where no rule is about requests, and none is waited for.
    #[test]
    fn without_requests_it_is_the_verdict_of_l4(case in random::case(false)) {
        let connection = connect(&case);
        let expected = oracle::decide(&case, |_| true);
        prop_assert_eq!(connection.at_connect(), AtConnect::Decided(expected));
        prop_assert_eq!(connection.not_http(), expected);
        for asked in &case.asked {
            prop_assert_eq!(ask(&connection, asked), expected);
        }
    }

    /// Bytes that are not HTTP never get further than any request would.
    #[test]
    fn what_is_not_http_is_not_let_past(case in random::case(true)) {
        let connection = connect(&case);
        let verdict = connection.not_http();
        if verdict.allowed {
            for asked in &case.asked {
                prop_assert!(ask(&connection, asked).allowed, "{:?}", asked);
            }
        }
        let denied_by_request = matches!(verdict.by, Decider::NotHttp);
        prop_assert!(!denied_by_request || connection.at_connect() == AtConnect::ByRequest);
    }

    #[test]
    fn any_bytes_do(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzzing::access_rules(&bytes);
    }
}

fn rule(tier: Tier, action: Action, requests: Requests) -> Rule {
    Rule {
        tier,
        action,
        audit: false,
        policy: Arc::from("AccessPolicy/bank/vault"),
        name: Arc::from("tellers"),
        requests,
    }
}

fn http(rule: HttpRule) -> Requests {
    Requests::Some { http: vec![rule], grpc: Vec::new() }
}

fn below(path: &str) -> Requests {
    http(HttpRule { paths: vec![PathMatch::prefix(path).unwrap()], ..HttpRule::default() })
}

fn of(rules: Vec<Rule>) -> Connection {
    let policy = Policy {
        rules,
        isolated: true,
        isolated_audit: true,
        isolated_by: Arc::from("AccessPolicy/bank/vault"),
        ..Policy::default()
    };
    Connection::new(Arc::new(policy), true, |_| true)
}

fn get(path: &str) -> Asked {
    Asked { method: Method::GET, path: path.to_owned(), host: Some("vault.bank"), tiers: Vec::new() }
}

#[test]
fn a_denial_never_waits() {
    let deny = || rule(Tier::Access, Action::Deny, Requests::All);
    let allow = || rule(Tier::Access, Action::Allow, below("/api"));
    let connection = of(vec![deny(), allow()]);
    assert!(matches!(
        connection.at_connect(),
        AtConnect::Decided(Verdict { allowed: false, by: Decider::Rule(0), .. })
    ));
    // Behind a rule about requests in the Admin tier it does: that one may allow.
    let connection = of(vec![rule(Tier::Admin, Action::Allow, below("/api")), deny()]);
    assert_eq!(connection.at_connect(), AtConnect::ByRequest);
    assert!(ask(&connection, &get("/api/x")).allowed);
    assert!(!ask(&connection, &get("/x")).allowed);
}

#[test]
fn what_is_not_http_needs_a_rule_of_l4() {
    let requests = || rule(Tier::Access, Action::Allow, below("/api"));
    let connection = of(vec![requests()]);
    assert_eq!(connection.at_connect(), AtConnect::ByRequest);
    let verdict = connection.not_http();
    assert_eq!((verdict.allowed, verdict.by), (false, Decider::NotHttp));
    let connection = of(vec![requests(), rule(Tier::Access, Action::Allow, Requests::All)]);
    assert!(connection.not_http().allowed);
    // Nor does it get past a rule that denies requests.
    let deny = rule(Tier::Access, Action::Deny, below("/admin"));
    let connection = of(vec![deny, rule(Tier::Access, Action::Allow, Requests::All)]);
    assert_eq!(connection.not_http().by, Decider::NotHttp);
}

#[test]
fn paths_are_read_for_the_author() {
    let connection = of(vec![
        rule(Tier::Access, Action::Deny, below("/admin")),
        rule(Tier::Access, Action::Allow, below("/public")),
        rule(
            Tier::Access,
            Action::Allow,
            http(HttpRule {
                paths: vec![
                    PathMatch::regex("/admin%2F.*").unwrap(),
                    PathMatch::exact("/one%2Ftwo").unwrap(),
                ],
                ..HttpRule::default()
            }),
        ),
    ]);
    for (path, allowed) in [
        ("/public", true),
        ("/public/x%2Fy", true),
        ("/public/../admin", false),
        ("/admin%2Fkeys", false),
        ("/%2Fadmin", false),
        ("/admin;x/keys", false),
        ("/;x/admin", false),
        ("/public/a;x", true),
        ("/admin%5ckeys", false),
        ("/one%2Ftwo", false),
    ] {
        assert_eq!(ask(&connection, &get(path)).allowed, allowed, "{path}");
    }
}

#[test]
fn methods_are_read_for_the_author() {
    let delete = |action| {
        let requests = http(HttpRule { methods: vec![Method::DELETE], ..HttpRule::default() });
        let lower = Asked { method: Method::from_bytes(b"delete").unwrap(), ..get("/") };
        ask(&of(vec![rule(Tier::Admin, action, requests)]), &lower).by == Decider::Rule(0)
    };
    assert!(delete(Action::Deny));
    assert!(!delete(Action::Allow));
    assert!(!delete(Action::Pass));
}

#[test]
fn hosts_and_header_fields() {
    let matches = |action, asked: &Asked| {
        let tier = HeaderMatch { name: "x-tier".parse().unwrap(), value: ValueMatch::Prefix("go".into()) };
        let hosts = vec![HostMatch::parse("*.bank").unwrap(), HostMatch::parse("vault").unwrap()];
        let one =
            rule(Tier::Admin, action, http(HttpRule { headers: vec![tier], hosts, ..HttpRule::default() }));
        ask(&of(vec![one]), asked).by == Decider::Rule(0)
    };
    let gold = Asked { tiers: vec!["gold"], ..get("/") };
    for action in [Action::Allow, Action::Deny] {
        assert!(matches(action, &gold));
        assert!(matches(action, &Asked { host: Some("VAULT:8080"), ..gold.clone() }));
        assert!(!matches(action, &Asked { host: Some("bank"), ..gold.clone() }));
        assert!(!matches(action, &get("/")));
    }
    // What cannot be told is in no rule that allows, and in every one that denies.
    for unclear in [Asked { host: None, ..gold.clone() }, Asked { tiers: vec!["gold", "iron"], ..gold }] {
        assert!(!matches(Action::Allow, &unclear));
        assert!(matches(Action::Deny, &unclear));
    }
}

#[test]
fn grpc_methods() {
    let matches = |action, service: Option<&str>, method: Option<&str>, asked: &Asked| {
        let one = GrpcRule { service: service.map(str::to_owned), method: method.map(str::to_owned) };
        let requests = Requests::Some { http: Vec::new(), grpc: vec![one] };
        ask(&of(vec![rule(Tier::Admin, action, requests)]), asked).by == Decider::Rule(0)
    };
    let open = Asked { method: Method::POST, ..get("/bank.Vault/Open") };
    for (service, method, expected) in [
        (Some("bank.Vault"), Some("Open"), true),
        (Some("bank.Vault"), None, true),
        (None, Some("Open"), true),
        (None, None, true),
        (Some("bank.Vault"), Some("Close"), false),
        (Some("Vault"), Some("Open"), false),
        (Some("bank.vault"), None, false),
    ] {
        for action in [Action::Allow, Action::Deny] {
            assert_eq!(matches(action, service, method, &open), expected, "{service:?} {method:?}");
        }
    }
    // A server that also takes JSON runs the same method.
    let json = Asked { method: Method::GET, ..open.clone() };
    assert!(matches(Action::Allow, Some("bank.Vault"), None, &json));
    assert!(matches(Action::Deny, Some("bank.Vault"), None, &json));
    let unclear = Asked { path: "/bank.Vault%2FOpen".to_owned(), ..open.clone() };
    assert!(!matches(Action::Allow, Some("bank.Vault"), Some("Open"), &unclear));
    assert!(matches(Action::Deny, Some("bank.Vault"), Some("Open"), &unclear));
    let deeper = Asked { path: "/bank.Vault/Open/x".to_owned(), ..open };
    assert!(!matches(Action::Allow, Some("bank.Vault"), Some("Open"), &deeper));
}

#[test]
fn an_invalid_rule_fails_closed() {
    let invalid = |action| match action {
        Action::Deny => Requests::All,
        Action::Allow | Action::Pass => Requests::None,
    };
    let connection = of(vec![rule(Tier::Access, Action::Deny, invalid(Action::Deny))]);
    assert!(!connection.not_http().allowed);
    let connection = of(vec![rule(Tier::Access, Action::Allow, invalid(Action::Allow))]);
    assert_eq!(connection.not_http().by, Decider::Isolation);
}

#[test]
fn a_denial_names_its_policy_to_proven_callers() {
    let connection = of(vec![rule(Tier::Access, Action::Deny, Requests::All)]);
    for (by, text) in [
        (Decider::Rule(0), "AccessPolicy/bank/vault tellers"),
        (Decider::Isolation, "AccessPolicy/bank/vault (no rule allows)"),
        (Decider::Default, "MeshConfig (default)"),
        (Decider::Floor, "MeshConfig (mTLS is required)"),
        (Decider::NotHttp, "(only HTTP is allowed)"),
    ] {
        assert_eq!(denied_by(connection.policy(), by, Caller::Proven), text);
        assert_eq!(denied_by(connection.policy(), by, Caller::Unproven("7f3a")), "7f3a");
    }
}
