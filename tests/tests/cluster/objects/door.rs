//! The admission policies that refuse unknown fields: what the controller told of is refused with them.

use std::fs;

use mesh_tests::cluster::trial::{until, workspace};

use super::{broken::Broken, collection, named};
use crate::server::ApiServer;

/// Installs the policies as `deploy/install.yaml` has them.
fn install(server: &ApiServer) {
    let text =
        fs::read_to_string(workspace().join("deploy/install.yaml")).expect("cargo xtask crds writes it");
    let is_one = |document: &&str| {
        document.contains("kind: ValidatingAdmissionPolicy") && document.contains("name: mesh-fields-")
    };
    let documents: Vec<&str> = text.split("\n---\n").filter(is_one).collect();
    assert_eq!(documents.len(), 6, "a policy and a binding for each kind");
    server.kubectl.apply(&documents.join("\n---\n")).unwrap_or_else(|error| panic!("{error}"));
}

/// Sends objects with a misspelt field each, which were taken before; each is refused by its name.
pub(super) fn refuses(server: &ApiServer, misspelt: &[&Broken]) {
    install(server);
    for broken in misspelt {
        let object = named(&broken.kind, &broken.object, "at-the-door");
        let path = format!("{}?dryRun=All", collection(&broken.kind));
        // Each is heeded a moment after it is there.
        until(&broken.what, || {
            let (code, answer) = server.create(&path, &object);
            let said = answer["message"].as_str().unwrap_or_default();
            let is_named = said.contains(&format!("unknown field {}; valid are ", broken.named));
            if code == 422 && is_named { Ok(()) } else { Err(format!("the API server said {code}: {said}")) }
        });
    }
    println!("{} of them are refused by name once the admission policies are there", misspelt.len());
}
