//! SEMANTICS 2.5: what the entries of `from` match.

use mesh_tests::trial::{
    Expect::{Answer, Refused},
    echo, namespace,
};

use super::{access, cluster};

/// SEMANTICS 2.5: `serviceAccounts` without `namespaces` means the policy's own namespace.
#[test]
fn service_accounts_are_of_the_policys_own_namespace() {
    let cluster = cluster();
    cluster.put_all(
        "own",
        &[
            &echo("own", "vault"),
            &echo("own", "open"),
            &echo("own", "here").account("teller"),
            &echo("own-elsewhere", "there").account("teller"),
            &access(
                "own",
                "own",
                "selector: {matchLabels: {app: vault}}, ingress: [{from: [{serviceAccounts: [teller]}]}]",
            ),
            &access(
                "own",
                "both",
                "selector: {matchLabels: {app: open}},
                 ingress: [{from: [{serviceAccounts: [teller], namespaces: [own, own-elsewhere]}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("own/here", "own/vault:8080", Answer),
        ("own-elsewhere/there", "own/vault:8080", Refused("NoRuleAllows")),
        ("own/here", "own/open:8080", Answer),
        ("own-elsewhere/there", "own/open:8080", Answer),
    ]);
}

/// SEMANTICS 2.5: a CIDR matches proven sources too, and an unproven one by its address; one family is not the other.
#[test]
fn cidrs_match_proven_and_unproven_sources_by_address() {
    let cluster = cluster();
    let pods: [&dyn std::fmt::Display; 5] = [
        &echo("cidr", "vault"),
        &echo("cidr", "inside"),
        &echo("cidr", "outside"),
        &echo("cidr", "plain-inside").plain(),
        &echo("cidr", "plain-outside").plain(),
    ];
    cluster.put_all("cidr", &pods);
    let addresses = ["cidr/inside", "cidr/plain-inside"].map(|key| cluster.pod(key).addresses).concat();
    let ranges: Vec<String> =
        addresses.iter().map(|ip| format!("\"{ip}/{}\"", if ip.is_ipv4() { 32 } else { 128 })).collect();
    let spec = format!(
        "selector: {{matchLabels: {{app: vault}}}}, ingress: [{{from: [{{cidrs: [{}]}}]}}]",
        ranges.join(", ")
    );
    cluster.put("cidr-policy", access("cidr", "range", &spec));
    cluster.expect(&[
        ("cidr/inside", "cidr/vault:8080", Answer),
        ("cidr/plain-inside", "cidr/vault:8080", Answer),
        ("cidr/outside", "cidr/vault:8080", Refused("NoRuleAllows")),
        ("cidr/plain-outside", "cidr/vault:8080", Refused("NoRuleAllows")),
    ]);
}

/// SEMANTICS 2.5: `0.0.0.0/0` is every IPv4 source and no IPv6 one.
#[test]
fn the_whole_of_ipv4_is_no_ipv6() {
    let cluster = cluster();
    cluster.put_all(
        "v4",
        &[
            &echo("v4", "vault"),
            &echo("v4", "client"),
            &access(
                "v4",
                "v4",
                "selector: {matchLabels: {app: vault}}, ingress: [{from: [{cidrs: [0.0.0.0/0]}]}]",
            ),
        ],
    );
    let addresses = cluster.pod("v4/vault").addresses;
    for address in addresses {
        let expect = if address.is_ipv4() { Answer } else { Refused("NoRuleAllows") };
        let target = std::net::SocketAddr::new(address, 8080).to_string();
        cluster.expect(&[("v4/client", target.as_str(), expect)]);
    }
}

/// DESIGN 5: the fields of one entry are AND, entries are OR; a namespace is also found by label.
#[test]
fn fields_of_an_entry_are_and_and_entries_are_or() {
    let cluster = cluster();
    cluster.put_all(
        "entries",
        &[
            &namespace("entries-ops", ("team", "ops")),
            &echo("entries", "vault"),
            &echo("entries-ops", "operator").label("role", "operator"),
            &echo("entries-ops", "visitor").label("role", "visitor"),
            &echo("entries", "impostor").label("role", "operator"),
            &echo("entries", "auditor").account("audit"),
            &access(
                "entries",
                "entries",
                "selector: {matchLabels: {app: vault}}, ingress: [{from: [
                   {pods: {matchLabels: {role: operator}}, namespaceSelector: {matchLabels: {team: ops}}},
                   {spiffe: ['spiffe://cluster.local/ns/entries/sa/audit']}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("entries-ops/operator", "entries/vault:8080", Answer),
        ("entries-ops/visitor", "entries/vault:8080", Refused("NoRuleAllows")),
        ("entries/impostor", "entries/vault:8080", Refused("NoRuleAllows")),
        ("entries/auditor", "entries/vault:8080", Answer),
    ]);
}

/// SEMANTICS 2.5: an empty list is rejected, by field, and the rule matches nothing.
#[test]
fn empty_lists_are_rejected_by_field() {
    let cluster = cluster();
    cluster.put_all("lists", &[&echo("lists", "vault"), &echo("lists", "client")]);
    for (name, rule, field) in [
        ("from", "from: []", "spec.ingress[0].from"),
        ("accounts", "from: [{serviceAccounts: []}]", "spec.ingress[0].from[0].serviceAccounts"),
        ("namespaces", "from: [{namespaces: []}]", "spec.ingress[0].from[0].namespaces"),
        ("cidrs", "from: [{cidrs: []}]", "spec.ingress[0].from[0].cidrs"),
        ("entry", "from: [{}]", "spec.ingress[0].from[0]"),
        ("ports", "ports: []", "spec.ingress[0].ports"),
    ] {
        let spec = format!("selector: {{matchLabels: {{app: vault}}}}, ingress: [{{{rule}}}]");
        cluster.put("lists-policy", access("lists", name, &spec));
        let accepted = cluster.condition("AccessPolicy", &format!("lists/{name}"), "Accepted").unwrap();
        assert_eq!(
            (accepted.status.as_str(), accepted.reason.as_str()),
            ("False", "Invalid"),
            "{accepted:?}"
        );
        assert!(accepted.message.contains(&format!("{field}: ")), "{accepted:?}");
        cluster.expect(&[("lists/client", "lists/vault:8080", Refused("NoRuleAllows"))]);
    }
}
