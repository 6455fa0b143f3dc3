//! What is not in the chart because the controller makes it: it has no owner that would take it along, and an authority
//! must not be lost with a release that is installed anew. Uninstalling removes it by name.

use super::render::{Document, Release};

/// API version, kind and name of each.
const OBJECTS: [(&str, &str, &str); 3] = [
    ("v1", "Secret", "mesh-authority"),
    ("v1", "ConfigMap", "mesh-roots"),
    ("coordination.k8s.io/v1", "Lease", "mesh-control"),
];

/// The objects that the controller makes in its namespace, for deleting them: nothing but their names.
#[must_use]
pub fn by_controller(release: &Release) -> Vec<Document> {
    let document = |(version, kind, name): (&str, &str, &str)| Document {
        kind: kind.to_owned(),
        name: name.to_owned(),
        text: format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: \"{}\"\n",
            release.namespace
        ),
    };
    OBJECTS.map(document).into()
}
