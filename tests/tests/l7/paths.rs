//! Spellings of a path by which a rule about requests is tried to be walked round: the server must be asked for none
//! that the policy denies, whatever it is called.

use super::{
    access::{denies, guarded},
    scene::{Way, caller},
};

/// Spellings of `/admin/users` that some server or other reads as it.
const TRICKS: &[&str] = &[
    "/admin/users",
    "//admin/users",
    "/./admin/users",
    "/x/../admin/users",
    "/public/../admin/users",
    "/public/..//admin/users",
    "/%61dmin/users",
    "/%2e/admin/users",
    "/public/%2e%2e/admin/users",
    "/public/%2E%2E/admin/users",
    "/public/.%2e/admin/users",
    "/public/%2e./admin/users",
    "/public/..;/admin/users",
    "/public;x=1/../admin/users",
    "/admin;x=1/users",
    "/admin/users;x=1",
    "/admin%2Fusers",
    "/admin%2fusers",
    "/%2fadmin/users",
    "/public/..%2fadmin/users",
    "/public%2f..%2fadmin/users",
    "/public/%2e%2e%2fadmin/users",
    "/admin/./users",
    "/admin//users",
    "/admin/users/",
    "/admin/users?x=/public",
    "/admin%5cusers",
    "/public/..%5cadmin/users",
    "/admin/users%00",
    "/public/%252e%252e/admin/users",
];

/// The path as the most lenient of servers reads it.
fn lenient(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default().to_lowercase();
    let path = path.replace("%61", "a").replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

fn tried(ways: &[Way], what: &str) {
    for way in ways {
        for target in TRICKS {
            let answer = way.ask(&way.get(target));
            let Some(seen) = answer.seen() else {
                assert!(matches!(answer.status(), 400 | 403), "{way} {what} {target}: {answer:?}");
                continue;
            };
            let read = lenient(&seen.target);
            assert!(
                !read.starts_with("/admin"),
                "{way} {what} {target}: the server was asked for {}",
                seen.target
            );
        }
        let fair = way.answer("/public/a");
        assert_eq!(fair.status(), 200, "{way} {what}: {fair:?}");
    }
}

/// A Deny of a prefix, with everything else allowed.
#[test]
fn a_denied_path_is_not_reached_by_any_spelling() {
    let rules = "ingress: [{ports: [{port: http}]}, \
                 {action: Deny, ports: [{port: http}], http: [{paths: [{prefix: /admin}]}]}]";
    let mut ways = guarded("tricks-deny", rules);
    denies(&ways, |way| way.get("/admin"));
    ways.push(Way { caller: caller("outside"), from: "outside", ..ways[0] });
    tried(&ways, "Deny /admin");
}

/// An Allow of another prefix, with everything else denied.
#[test]
fn a_path_that_is_not_allowed_is_not_reached_by_any_spelling() {
    let rules = "ingress: [{ports: [{port: http}], http: [{paths: [{prefix: /public}]}]}]";
    let mut ways = guarded("tricks-allow", rules);
    denies(&ways, |way| way.get("/admin"));
    ways.push(Way { caller: caller("outside"), from: "outside", ..ways[0] });
    tried(&ways, "Allow /public");
}
