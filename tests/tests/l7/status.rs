//! What is said of a route: its conditions at its generation, and what is wrong by field and value.

use std::collections::BTreeSet;

use mesh_tests::trial::{Condition, eventually};

use super::scene::{SHOP, SOON, cluster, route, route_of, routed, seen_by_engine, service, settles, ways};

fn condition(kind: &str, name: &str, condition: &str) -> Condition {
    let key = format!("{SHOP}/{name}");
    eventually(&format!("{kind} {key} has {condition}"), SOON, || cluster().condition(kind, &key, condition))
}

/// A route that is in force, one for a Service that is not there, one with a field that nobody knows, one of a kind that
/// loses its port to another.
#[test]
fn what_became_of_a_route_is_said_with_its_generation() {
    let rules = "  - backendRefs: [{name: one, port: 80}]\n";
    let unknown =
        route_of("HTTPRoute", SHOP, "said-odd", "name: said, port: 80", &format!("{rules}    banana: 1\n"));
    let nowhere = route_of("HTTPRoute", SHOP, "said-nowhere", "name: not-there, port: 80", rules);
    let tcp = route_of("TCPRoute", SHOP, "said-loser", "name: said, port: 80", rules);
    cluster()
        .put_all("said", &[&service(SHOP, "said", "one"), &route("said", rules), &unknown, &nowhere, &tcp]);
    let wanted = [
        ("HTTPRoute", "said", "Accepted", "True", "Accepted", ""),
        ("HTTPRoute", "said", "ResolvedRefs", "True", "ResolvedRefs", ""),
        ("HTTPRoute", "said-odd", "Accepted", "False", "UnsupportedValue", "banana"),
        ("HTTPRoute", "said-nowhere", "Accepted", "False", "NoMatchingParent", "not-there"),
        ("TCPRoute", "said-loser", "Accepted", "False", "Conflicted", ""),
    ];
    let mut generations = BTreeSet::new();
    for (kind, name, which, status, reason, word) in wanted {
        // The Service gets its addresses after the routes were read first.
        generations.insert(eventually(&format!("{kind} {name}: {which}={status}, {reason}"), SOON, || {
            let said = condition(kind, name, which);
            let as_wanted = said.status == status && said.reason == reason && said.message.contains(word);
            as_wanted.then_some(said.generation)
        }));
    }
    assert!(generations.len() == 1 && !generations.contains(&0), "all were written at once: {generations:?}");
    routed(&ways("said"), "/");
}

/// SEMANTICS 8: a Service whose routes are all refused is as without routes; one that becomes invalid goes on as it was.
#[test]
fn a_refused_route_has_no_effect_and_one_that_breaks_stays_what_it_was() {
    let rules = "  - matches: [{path: {value: /old}}]\n    backendRefs: [{name: two, port: 80}]\n";
    let broken =
        "  - matches: [{path: {value: /new}}]\n    backendRefs: [{name: two, port: 80}]\n    banana: 1\n";
    cluster().put_all("broken", &[&service(SHOP, "broken", "one"), &route("broken", broken)]);
    let ways = ways("broken");
    settles("it is as without routes", &ways, |way| {
        let seen = way.try_ask(&way.get("/any"))?.seen().ok_or("no server's answer")?;
        let direct = seen.pod == "one" && !seen.headers.iter().any(|(name, _)| name == "x-request-id");
        if direct { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    cluster().put_all("broken", &[&service(SHOP, "broken", "one"), &route("broken", rules)]);
    routed(&ways, "/old");
    cluster().put_all("broken", &[&service(SHOP, "broken", "one"), &route("broken", broken)]);
    let accepted = condition("HTTPRoute", "broken", "Accepted");
    assert_eq!(accepted.status, "False", "{accepted:?}");
    std::thread::sleep(std::time::Duration::from_secs(1));
    for way in &ways {
        let seen = seen_by_engine(&way.answer("/old")).unwrap_or_else(|problem| panic!("{way}: {problem}"));
        assert_eq!(seen.pod, "two", "{way}");
        assert_eq!(way.answer("/any").status(), 404, "{way}");
    }
}
