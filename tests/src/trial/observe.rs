//! What the mesh says of itself: conditions in the run directory, metrics, the access log, `meshctl`.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
};

use serde_json::Value as Json;
use serde_yaml_ng::Value;

use super::{Trial, text};

/// A condition of an object's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// `observedGeneration`.
    pub generation: i64,
}

impl Condition {
    /// An entry of `conditions`.
    pub(super) fn read(entry: &Value) -> Self {
        Self {
            status: text(entry, "status").to_owned(),
            reason: text(entry, "reason").to_owned(),
            message: text(entry, "message").to_owned(),
            generation: entry.get("observedGeneration").and_then(Value::as_i64).unwrap_or_default(),
        }
    }
}

/// A line of the access log that is no allowed connection.
#[derive(Debug, Clone)]
pub struct Denial {
    /// The node whose log it is in.
    pub node: String,
    /// The line.
    pub line: Json,
}

impl Denial {
    /// A field, `source.address` for one within another; empty if it is not there.
    #[must_use]
    pub fn field(&self, path: &str) -> &str {
        let pointer = format!("/{}", path.replace('.', "/"));
        self.line.pointer(&pointer).and_then(Json::as_str).unwrap_or_default()
    }
}

impl Trial {
    /// A condition of an object; `key` is `namespace/name`, of which the namespace is passed over for cluster scope.
    #[must_use]
    pub fn condition(&self, kind: &str, key: &str, condition: &str) -> Option<Condition> {
        let status = self.status(kind, key)?;
        let conditions = status.get("status")?.get("conditions")?.as_sequence()?;
        let found = conditions.iter().find(|entry| text(entry, "type") == condition)?;
        Some(Condition::read(found))
    }

    /// The status file of an object.
    #[must_use]
    pub fn status(&self, kind: &str, key: &str) -> Option<Value> {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let folder = self.run().join("status").join(kind);
        let files = [folder.join(format!("{namespace}.{name}.yaml")), folder.join(format!("{name}.yaml"))];
        let read = files.iter().find_map(|file| fs::read_to_string(file).ok())?;
        serde_yaml_ng::from_str(&read).ok()
    }

    /// Every denied or audited line of every node's access log.
    #[must_use]
    pub fn denials(&self) -> Vec<Denial> {
        let mut all = Vec::new();
        for (node, line) in self.access_log() {
            if let Ok(line) = serde_json::from_str::<Json>(&line)
                && line.get("verdict").and_then(Json::as_str).is_some_and(|verdict| verdict != "allowed")
            {
                all.push(Denial { node, line });
            }
        }
        all
    }

    /// Every line of every node's access log.
    #[must_use]
    pub fn access_log(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for node in self.nodes() {
            let folder = self.run().join("nodes").join(&node);
            for file in ["access.log.1", "access.log"] {
                let read = fs::read_to_string(folder.join(file)).unwrap_or_default();
                all.extend(read.lines().map(|line| (node.clone(), line.to_owned())));
            }
        }
        all
    }

    /// The names of the nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        let entries = fs::read_dir(self.run().join("nodes")).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The sum of a metric's series of a node that have all these labels.
    ///
    /// # Panics
    /// If the node's metrics cannot be read.
    #[must_use]
    pub fn metric(&self, node: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.bed.metrics(node).unwrap_or_else(|error| panic!("metrics of {node}: {error}"));
        sum(&text, name, labels)
    }

    /// Runs `meshctl` on this testbed.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn meshctl(&self, arguments: &[&str]) -> Output {
        let ours = std::env::current_exe().unwrap_or_default();
        let program =
            ours.ancestors().skip(1).take(2).map(|folder| folder.join("meshctl")).find(|file| file.is_file());
        let program = program.unwrap_or_else(|| panic!("meshctl is not built: cargo build -p mesh-control"));
        let mut command = Command::new(&program);
        command.arg("--run-dir").arg(self.run()).args(arguments);
        command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }
}

/// Reads the text format: `name{label="value",...} 1.0`.
fn sum(metrics: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let mut total = 0.0;
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (family, inside) = series.split_once('{').unwrap_or((series, ""));
        if family != name {
            continue;
        }
        let pairs = inside.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\""));
        let own: BTreeMap<&str, &str> =
            pairs.map(|(key, value)| (key, value.trim_end_matches('"'))).collect();
        if labels.iter().all(|(key, value)| own.get(key) == Some(value)) {
            total += value.parse::<f64>().unwrap_or_default();
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_label() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"p,q\"} 2\na_total{x=\"1\",y=\"r\"} 3\na_total{x=\"2\",y=\"r\"} 4\nb 5\n";
        assert_eq!(sum(text, "a_total", &[("x", "1")]), 5.0);
        assert_eq!(sum(text, "a_total", &[("y", "p,q")]), 2.0);
        assert_eq!(sum(text, "b", &[]), 5.0);
    }
}
