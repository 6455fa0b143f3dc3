//! The first steps that README.md describes, with the manifests it names.

use std::{fs, path::Path};

use mesh_tests::trial::{Outcome, eventually};

use super::{TIMEOUT, cluster};

const GREETER: &str = "hello/greeter:8080";

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/hello");
    fs::read_to_string(folder.join(name)).expect("the example can be read")
}

/// How `from` greets, by every address of the greeter.
fn greets(from: &str) -> Vec<Outcome> {
    let cluster = cluster();
    cluster.resolve(GREETER).iter().map(|address| cluster.call(from, "http", address, &[])).collect()
}

fn can(from: &str) -> String {
    String::from_utf8(cluster().meshctl(&["can", from, "svc/hello/greeter"]).stdout)
        .expect("meshctl writes text")
}

/// README "With manifests of your own": who is labelled goes through mTLS, who is not in plaintext, and a policy of one
/// more file leaves only the labelled one in.
#[test]
fn the_first_mesh_of_the_readme_is_as_it_says() {
    let cluster = cluster();
    cluster.put("hello", example("hello.yaml"));
    for from in ["hello/guest", "hello/outsider"] {
        let outcomes = greets(from);
        assert!(!outcomes.is_empty());
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::Answered(_))),
            "{from}: {outcomes:?}"
        );
    }
    assert!(can("hello/guest").contains("  tunnel  "), "{}", can("hello/guest"));
    assert!(can("hello/outsider").contains("  plaintext  "), "{}", can("hello/outsider"));

    cluster.put("hello-policy", example("policy.yaml"));
    let refused =
        |outcome: &Outcome| matches!(outcome, Outcome::Failed(failed) if failed.errno == "ECONNREFUSED");
    eventually("the outsider is refused", TIMEOUT, || {
        greets("hello/outsider").iter().all(refused).then_some(())
    });
    let outcomes = greets("hello/guest");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Answered(_))), "{outcomes:?}");
    assert!(can("hello/guest").contains("AccessPolicy/hello/greeter guests"), "{}", can("hello/guest"));
    let told = String::from_utf8(cluster.meshctl(&["explain", "--pod", "hello/outsider"]).stdout).unwrap();
    assert!(told.starts_with("NoRuleAllows: "), "{told}");
}
