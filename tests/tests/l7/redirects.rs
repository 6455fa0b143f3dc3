//! RequestRedirect: every part of `Location`, and every status.

use super::scene::{SHOP, cluster, route, routed, service, ways};

fn rule(path: &str, redirect: &str) -> String {
    format!(
        "  - matches: [{{path: {{value: {path}}}}}]\n    \
         filters: [{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]\n"
    )
}

/// HTTPRequestRedirectFilter: scheme, host name, port and path, alone and together; what is not said stays.
#[test]
fn every_part_of_a_redirect_stands_in_location() {
    let prefix = |to: &str| format!("path: {{type: ReplacePrefixMatch, replacePrefixMatch: {to}}}");
    let full = |to: &str| format!("path: {{type: ReplaceFullPath, replaceFullPath: {to}}}");
    let rules = [
        rule("/scheme", "scheme: https"),
        rule("/scheme-port", "scheme: https, port: 8443"),
        rule("/scheme-known-port", "scheme: https, port: 443"),
        rule("/host", "hostname: new.test"),
        rule("/port", "port: 8081"),
        rule("/host-port", "hostname: new.test, port: 80"),
        rule("/full", &full("/all/new")),
        rule("/prefix", &prefix("/other")),
        rule(
            "/everything",
            &format!("scheme: https, hostname: new.test, port: 8443, statusCode: 301, {}", prefix("/x")),
        ),
        rule("/301", "hostname: new.test, statusCode: 301"),
        rule("/302", "hostname: new.test, statusCode: 302"),
        rule("/303", "hostname: new.test, statusCode: 303"),
        rule("/307", "hostname: new.test, statusCode: 307"),
        rule("/308", "hostname: new.test, statusCode: 308"),
        "  - matches: [{path: {type: Exact, value: /stays}}]\n    backendRefs: [{name: one, port: 80}]\n"
            .to_owned(),
    ];
    cluster()
        .put_all("redirected", &[&service(SHOP, "redirected", "one"), &route("redirected", &rules.concat())]);
    let ways = ways("redirected");
    routed(&ways, "/stays");
    for way in &ways {
        for (target, status, location) in [
            ("/scheme/a?q=1", 302, "https://old.test/scheme/a?q=1"),
            ("/scheme-port/a", 302, "https://old.test:8443/scheme-port/a"),
            ("/scheme-known-port", 302, "https://old.test/scheme-known-port"),
            ("/host/a", 302, "http://new.test/host/a"),
            ("/port/a", 302, "http://old.test:8081/port/a"),
            ("/host-port", 302, "http://new.test/host-port"),
            ("/full/a?q=1", 302, "http://old.test/all/new?q=1"),
            ("/prefix/a/b", 302, "http://old.test/other/a/b"),
            ("/prefix", 302, "http://old.test/other"),
            ("/everything/a?q=1", 301, "https://new.test:8443/x/a?q=1"),
            ("/301", 301, "http://new.test/301"),
            ("/302", 302, "http://new.test/302"),
            ("/303", 303, "http://new.test/303"),
            ("/307", 307, "http://new.test/307"),
            ("/308", 308, "http://new.test/308"),
        ] {
            let answer = way.ask(&way.get(target).authority("old.test"));
            let said = (answer.status(), answer.header("location"));
            assert_eq!(said, (status, location), "{way} {target}: {answer:?}");
            assert!(answer.seen().is_none(), "{way} {target}: no server was asked: {answer:?}");
        }
    }
}
