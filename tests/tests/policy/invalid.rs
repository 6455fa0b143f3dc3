//! SEMANTICS 5.3 and 5.4: what is invalid or not built yet fails closed, and says so by name.

use mesh_tests::{
    socket::plaza::SOON,
    trial::{
        Expect::{Answer, Forbidden, Refused},
        echo, eventually,
    },
};

use super::{access, cluster};

const SERVER: &str = "selector: {matchLabels: {app: server}}";

/// SEMANTICS 5.3: an invalid Allow rule matches nothing; the valid rules beside it hold.
#[test]
fn an_invalid_allow_rule_matches_nothing() {
    let cluster = cluster();
    let spec = format!(
        "{SERVER}, ingress: [{{name: broken, from: [{{cidrs: [not-a-range]}}]}}, {{name: good, ports: [{{port: 8081}}]}}]"
    );
    cluster.put_all(
        "bad-allow",
        &[
            &echo("bad-allow", "server").serve("--tcp 8081"),
            &echo("bad-allow", "client"),
            &access("bad-allow", "mixed", &spec),
        ],
    );
    cluster.expect(&[
        ("bad-allow/client", "bad-allow/server:8080", Refused("NoRuleAllows")),
        ("bad-allow/client", "bad-allow/server:8081", Answer),
    ]);
    let accepted = cluster.condition("AccessPolicy", "bad-allow/mixed", "Accepted").unwrap();
    assert_eq!(accepted.status, "False");
    for part in ["spec.ingress[0].from[0].cidrs", "`not-a-range`", "rule `broken`"] {
        assert!(accepted.message.contains(part), "{part} is not in {accepted:?}");
    }
}

/// SEMANTICS 5.3: an invalid Deny rule matches everything on the pods and ports that it selects.
#[test]
fn an_invalid_deny_rule_matches_everyone_on_its_ports() {
    let cluster = cluster();
    let spec = format!(
        "{SERVER}, ingress: [{{name: broken, action: Deny, from: [{{cidrs: [nonsense]}}], ports: [{{port: 8080}}]}}, {{name: anyone}}]"
    );
    cluster.put_all(
        "bad-deny",
        &[
            &echo("bad-deny", "server").serve("--tcp 8081"),
            &echo("bad-deny", "other"),
            &echo("bad-deny", "client"),
            &access("bad-deny", "mixed", &spec),
        ],
    );
    cluster.expect(&[
        ("bad-deny/client", "bad-deny/server:8080", Refused("PolicyDenied")),
        ("bad-deny/client", "bad-deny/server:8081", Answer),
        ("bad-deny/client", "bad-deny/other:8080", Answer),
    ]);
}

/// SEMANTICS 5.3: the decision depends on the object alone: one that was valid before is no better off.
#[test]
fn an_object_that_becomes_invalid_does_not_live_on_its_history() {
    let cluster = cluster();
    let (server, client) = (echo("history", "server"), echo("history", "client"));
    let valid = access("history", "policy", &format!("{SERVER}, ingress: [{{name: anyone}}]"));
    let invalid =
        access("history", "policy", &format!("{SERVER}, ingress: [{{name: anyone, form: [{{}}]}}]"));
    cluster.put_all("history", &[&server, &client, &valid]);
    cluster.expect(&[("history/client", "history/server:8080", Answer)]);
    cluster.put_all("history", &[&server, &client, &invalid]);
    cluster.expect(&[("history/client", "history/server:8080", Refused("NoRuleAllows"))]);
    let accepted = cluster.condition("AccessPolicy", "history/policy", "Accepted").unwrap();
    assert_eq!(
        (accepted.status.as_str(), accepted.reason.as_str()),
        ("False", "UnknownField"),
        "{accepted:?}"
    );
    assert!(accepted.message.contains("form"), "{accepted:?}");
    cluster.put_all("history", &[&server, &client, &valid]);
    cluster.expect(&[("history/client", "history/server:8080", Answer)]);
}

/// SEMANTICS 5.3: last-good is for files that cannot be read: what they said before stays in force, and a status says so.
#[test]
fn an_unparsable_file_keeps_what_it_last_said() {
    let cluster = cluster();
    cluster.put_all("garbled", &[&echo("garbled", "server"), &echo("garbled", "client")]);
    let closed = access("garbled", "closed", &format!("{SERVER}, ingress: []"));
    cluster.put("garbled-policy", &closed);
    cluster.expect(&[("garbled/client", "garbled/server:8080", Refused("NoRuleAllows"))]);
    cluster.write_raw("garbled-policy", "apiVersion: mesh.internal/v1alpha1\nkind: [unclosed\n");
    let file =
        || cluster.condition("File", "garbled-policy.yaml", "Accepted").filter(|seen| seen.status == "False");
    let seen = eventually("the file's status", SOON, file);
    assert!(seen.message.contains("document 1"), "{seen:?}");
    cluster.expect(&[("garbled/client", "garbled/server:8080", Refused("NoRuleAllows"))]);
    // Everything else goes on changing meanwhile.
    cluster.put(
        "garbled-beside",
        access("garbled", "open", "selector: {matchLabels: {app: client}}, ingress: [{}]"),
    );
    cluster.remove("garbled-policy");
    cluster.expect(&[("garbled/client", "garbled/server:8080", Answer)]);
    eventually("the file's status goes with it", SOON, || file().is_none().then_some(()));
}

/// SEMANTICS 5.4, issue: fields that are not built are refused by name and fail closed.
#[test]
fn fields_that_are_not_built_are_refused_by_name_and_fail_closed() {
    let cluster = cluster();
    cluster.put_all("unbuilt", &[&echo("unbuilt", "server").serve("--tcp 8081"), &echo("unbuilt", "client")]);
    for (field, value) in [
        ("jwt", "{issuer: 'https://idp.example', audiences: [bank]}"),
        ("limit", "{requests: 100, per: 1s, burst: 50, by: Source}"),
    ] {
        let name = format!("unbuilt/{field}");
        let rule = |action: &str| {
            let rules = format!(
                "{{name: seven, action: {action}, ports: [{{port: 8080}}], {field}: {value}}}, {{name: rest, ports: [{{port: 8081}}]}}"
            );
            access("unbuilt", field, &format!("{SERVER}, ingress: [{rules}]"))
        };
        cluster.put("unbuilt-policy", rule("Allow"));
        let accepted = cluster.condition("AccessPolicy", &name, "Accepted").unwrap();
        assert_eq!(
            (accepted.status.as_str(), accepted.reason.as_str()),
            ("False", "FieldNotBuilt"),
            "{accepted:?}"
        );
        assert!(
            accepted.message.contains(&format!("spec.ingress[0].{field} is not built yet")),
            "{accepted:?}"
        );
        cluster.expect(&[
            ("unbuilt/client", "unbuilt/server:8080", Refused("NoRuleAllows")),
            ("unbuilt/client", "unbuilt/server:8081", Answer),
        ]);
        cluster.put("unbuilt-policy", rule("Deny"));
        cluster.expect(&[
            ("unbuilt/client", "unbuilt/server:8080", Refused("PolicyDenied")),
            ("unbuilt/client", "unbuilt/server:8081", Answer),
        ]);
    }
}

/// Issue: `fqdns` is refused by name; the rule allows nothing.
#[test]
fn fqdns_are_refused_by_name_and_allow_nothing() {
    let cluster = cluster();
    cluster.put_all(
        "fqdns",
        &[
            &echo("fqdns", "server"),
            &echo("fqdns", "client"),
            &access(
                "fqdns",
                "names",
                "selector: {matchLabels: {app: client}}, egress: [{to: [{fqdns: ['*.example.com']}]}]",
            ),
        ],
    );
    let accepted = cluster.condition("AccessPolicy", "fqdns/names", "Accepted").unwrap();
    assert_eq!(accepted.reason, "FieldNotBuilt", "{accepted:?}");
    assert!(accepted.message.contains("spec.egress[0].to[0].fqdns"), "{accepted:?}");
    cluster.expect(&[("fqdns/client", "fqdns/server:8080", Forbidden("NoRuleAllows"))]);
}
