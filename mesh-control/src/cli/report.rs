//! `meshctl bug-report`: one archive with what somebody needs who was not there. It holds no Secret, and
//! of everything else [`redact`] takes out what may be one.

mod archive;
mod redact;

use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::LogParams;
use kube::{Api, Resource};
use mesh_api::crd::{AccessPolicy, ClusterAccessPolicy, MeshConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Socket;
use super::cluster::{Cluster, ClusterError};
use super::gather::seen;
use super::node::each;
use super::output::View;
use super::pods::Part;
use super::{CliError, Outcome};
use crate::check::run;
use archive::Archive;

/// Lines of a container's log.
const LINES: i64 = 20_000;
/// Bytes of a container's log.
const BYTES: i64 = 8 << 20;
/// Where agents answer `/metrics`, unless their pods say otherwise.
const METRICS: i32 = 15020;

/// The archive cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written to {}: {source}", .path.display())]
pub(super) struct ReportError {
    path: PathBuf,
    source: io::Error,
}

/// What is in the archive, and what is not and why.
#[derive(Debug, Default)]
struct Report {
    files: Vec<(String, Vec<u8>)>,
    missing: Vec<String>,
}

impl Report {
    /// Anything that is an object, or a list of them.
    fn add(&mut self, name: &str, content: Result<impl Serialize, impl ToString>) {
        let value = content.map_err(|error| error.to_string());
        let value =
            value.and_then(|content| serde_json::to_value(content).map_err(|error| error.to_string()));
        match value {
            Ok(mut value) => {
                redact::object(&mut value);
                self.files.push((name.to_owned(), format!("{value:#}\n").into_bytes()));
            }
            Err(why) => self.missing.push(format!("{name}: {}", redact::text(&why))),
        }
    }

    /// Any text.
    fn add_text(&mut self, name: &str, content: Result<String, impl ToString>) {
        match content {
            Ok(text) => self.files.push((name.to_owned(), redact::text(&text).into_bytes())),
            Err(why) => self.missing.push(format!("{name}: {}", redact::text(&why.to_string()))),
        }
    }

    fn write(&self, to: impl Write) -> io::Result<()> {
        let mut archive = Archive::new(to);
        for (name, content) in &self.files {
            archive.add(&format!("mesh-report/{name}"), content)?;
        }
        archive.add("mesh-report/missing.txt", (self.missing.join("\n") + "\n").as_bytes())?;
        archive.finish()
    }
}

/// Collects everything and writes it, readable for nobody else.
pub(super) async fn report(cluster: &Cluster, file: &Path) -> Result<(View, Outcome), CliError> {
    let failed = |source| ReportError { path: file.to_owned(), source };
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let mut report = Report::default();
    objects(cluster, &mut report).await;
    let seen = seen(cluster, false).await;
    let versions = json!({
        "meshctl": seen.meshctl,
        "kubernetes": seen.kubernetes.as_ref().ok().map(|(major, minor)| format!("{major}.{minor}")),
    });
    report.add("versions.json", Ok::<_, String>(versions));
    report.add("checks.json", Ok::<_, String>(run(&seen, false)));
    drop(seen);
    asked(cluster, &mut report).await;
    of_pods(cluster, &mut report).await;

    report.write(io::BufWriter::new(opened)).map_err(failed)?;
    let answer = json!({
        "file": file,
        "files": report.files.iter().map(|(name, content)| json!({ "name": name, "bytes": content.len() })).collect::<Vec<_>>(),
        "missing": report.missing,
    });
    let mut text = format!(
        "{} has {} files; look through it before you pass it on: it names namespaces, pods, addresses and policies\n",
        file.display(),
        report.files.len()
    );
    for missing in &report.missing {
        text.push_str(&format!("not in it: {missing}\n"));
    }
    let outcome = if report.missing.is_empty() { Outcome::Yes } else { Outcome::No };
    Ok((View::new(&answer, text), outcome))
}

async fn objects(cluster: &Cluster, report: &mut Report) {
    async fn kind<K>(report: &mut Report, listed: Result<Vec<K>, ClusterError>)
    where
        K: Serialize + Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
    {
        let plural = K::plural(&());
        // An item of a list has not its own kind.
        let listed = listed.map(|items| {
            let of_kind = |item: K| {
                let mut value = serde_json::to_value(item).unwrap_or_default();
                value["kind"] = json!(K::kind(&()));
                value
            };
            items.into_iter().map(of_kind).collect::<Vec<Value>>()
        });
        report.add(&format!("objects/{plural}.json"), listed);
    }
    kind(report, cluster.all::<MeshConfig>().await).await;
    kind(report, cluster.all::<AccessPolicy>().await).await;
    kind(report, cluster.all::<ClusterAccessPolicy>().await).await;
    kind(report, cluster.all::<Node>().await).await;
    kind(report, cluster.of_mesh::<DaemonSet>("").await).await;
    kind(report, cluster.of_mesh::<Deployment>("").await).await;
    kind(report, cluster.of_mesh::<Pod>("").await).await;
    kind(report, cluster.of_mesh::<Event>("").await).await;
}

/// What controller and agents answer.
async fn asked(cluster: &Cluster, report: &mut Report) {
    async fn each_of(report: &mut Report, folder: &str, socket: &Socket, paths: &[&str]) {
        for path in paths {
            let name = path.trim_start_matches('/').split('?').next().unwrap_or_default();
            report.add(&format!("{folder}/{name}.json"), socket.get::<Value>(path).await);
        }
    }
    match cluster.controller().await {
        Ok(socket) => each_of(report, "controller", &socket, &["/status", "/ca", "/identities"]).await,
        Err(error) => report.missing.push(format!("controller: {error}")),
    }
    const PATHS: [&str; 6] = ["/status", "/pods", "/check", "/failures", "/identities", "/dump?flows=1000"];
    match cluster.nodes(None).await {
        Ok(nodes) => {
            let answers = each(&nodes, |node| async move {
                let mut of_node = Report::default();
                each_of(&mut of_node, &format!("nodes/{}", node.name), &node.agent, &PATHS).await;
                of_node
            });
            for of_node in answers.await {
                report.files.extend(of_node.files);
                report.missing.extend(of_node.missing);
            }
        }
        Err(error) => report.missing.push(format!("nodes: {error}")),
    }
}

/// Logs of the mesh's pods, and the agents' metrics.
async fn of_pods(cluster: &Cluster, report: &mut Report) {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.mesh);
    for part in [Part::Agent, Part::Controller] {
        let pods: Vec<Pod> = match cluster.of_mesh(&part.selector()).await {
            Ok(pods) => pods,
            Err(error) => {
                report.missing.push(format!("logs of {}: {error}", part.name()));
                continue;
            }
        };
        for pod in pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
            for container in statuses {
                for previous in [false, true] {
                    if previous && container.restart_count == 0 {
                        continue;
                    }
                    let parameters = LogParams {
                        container: Some(container.name.clone()),
                        tail_lines: Some(LINES),
                        limit_bytes: Some(BYTES),
                        timestamps: true,
                        previous,
                        ..LogParams::default()
                    };
                    let ending = if previous { "previous.log" } else { "log" };
                    let text = cluster.answer("reading a log", api.logs(&name, &parameters)).await;
                    report.add_text(&format!("logs/{name}/{}.{ending}", container.name), text);
                }
            }
            if part == Part::Agent {
                let path = format!(
                    "/api/v1/namespaces/{}/pods/{name}:{}/proxy/metrics",
                    cluster.mesh,
                    metrics_port(&pod)
                );
                report.add_text(&format!("metrics/{name}.txt"), cluster.text(&path).await);
            }
        }
    }
}

fn metrics_port(pod: &Pod) -> i32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.find(|port| port.name.as_deref() == Some("metrics")).map_or(METRICS, |port| port.container_port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Report;

    #[test]
    fn nothing_gets_into_the_archive_that_was_not_gone_through() {
        let mut report = Report::default();
        let object = json!({ "kind": "Secret", "data": { "key": "hunter2" } });
        report.add("object.json", Ok::<_, String>(object));
        report.add_text("log", Ok::<_, String>("password=hunter2".to_owned()));
        report.add("none.json", Err::<(), _>("token=hunter2 refused".to_owned()));
        report.add_text("none.log", Err("token=hunter2 refused".to_owned()));
        let mut written = Vec::new();
        report.write(&mut written).unwrap();
        let text = String::from_utf8_lossy(&written);
        assert!(!text.contains("hunter2"), "{text}");
        assert!(
            text.contains("mesh-report/object.json") && text.contains("none.log: token=REDACTED refused"),
            "{text}"
        );
    }
}
