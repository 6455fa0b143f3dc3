//! The manifests that the documentation shows are accepted as they stand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use mesh_tests::{socket::plaza::SOON, trial::eventually};
use serde::Deserialize as _;
use serde_yaml_ng::Value;

/// A controller of its own, so that no other test lives under the examples' rules.
struct Controller(Child);

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Documentation: every object of ours and every route in `docs/examples` is accepted.
#[test]
fn the_documented_manifests_are_accepted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let run = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_mesh-testbed")).with_file_name("mesh-control");
    let mut command = Command::new(program);
    command.arg(format!("--source=dir:{}", examples.display())).arg("--run-dir").arg(run.path());
    let _controller = Controller(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let mut checked = 0;
    for path in files(&examples) {
        let text = fs::read_to_string(&path).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let document = Value::deserialize(document).unwrap();
            let field = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let version = field(&document, "apiVersion");
            let is_route = version.starts_with("gateway.networking.k8s.io/");
            if !is_route && !version.starts_with("mesh.internal/") {
                continue;
            }
            let (kind, metadata) = (field(&document, "kind"), &document["metadata"]);
            let (namespace, name) = (field(metadata, "namespace"), field(metadata, "name"));
            let file = if namespace.is_empty() {
                format!("{name}.yaml")
            } else {
                format!("{namespace}.{name}.yaml")
            };
            let status = run.path().join("status").join(&kind).join(file);
            let conditions = eventually(&format!("{}", status.display()), SOON, || {
                let status: Value = serde_yaml_ng::from_str(&fs::read_to_string(&status).ok()?).ok()?;
                status["status"]["conditions"].as_sequence().cloned()
            });
            for wanted in ["Accepted", "ResolvedRefs"].into_iter().take(1 + usize::from(is_route)) {
                let found = conditions.iter().find(|condition| condition["type"] == wanted).unwrap();
                assert_eq!(found["status"], "True", "{}: {found:?}", path.display());
            }
            let partial = conditions.iter().find(|condition| condition["type"] == "PartiallyInvalid");
            assert!(
                partial.is_none_or(|partial| partial["status"] != "True"),
                "{}: {partial:?}",
                path.display()
            );
            checked += 1;
        }
    }
    assert!(checked >= 16, "only {checked} objects in {}", examples.display());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).expect("the examples can be listed");
    let entries = listed.map(|entry| entry.expect("an example can be listed").path());
    let nested = entries.map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    let all = nested.flatten();
    all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}
