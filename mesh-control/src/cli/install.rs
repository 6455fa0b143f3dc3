//! `meshctl install`, `upgrade`, `uninstall`: the mesh's objects on standard output, for `kubectl`.
//!
//! Nothing is asked of a cluster, so that what is applied can be read, kept and compared first.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::output::Format;
use crate::install::{
    Assignment, Document, OverlayError, Release, RenderError, by_controller, defaults, documents, lay_over,
    read_values,
};

/// What to install.
#[derive(Debug, Args)]
pub(super) struct InstallArguments {
    /// A file of values, as the chart's values.yaml; of several the last counts. `-` is standard input.
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A single value, over those of files: PATH=VALUE, the value as YAML, such as controller.replicas=3.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    assignments: Vec<Assignment>,
    /// The namespace that everything is in.
    #[arg(short, long, default_value = "mesh-system", value_parser = namespace)]
    namespace: String,
}

/// What to uninstall.
#[derive(Debug, Args)]
pub(super) struct UninstallArguments {
    /// The objects to delete, once every node is out of the mesh. Without it: what takes the nodes out.
    #[arg(long)]
    objects: bool,
    #[command(flatten)]
    installed: InstallArguments,
}

/// Why there is nothing to apply.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// A file of values.
    #[error("cannot read the values in {}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Values that cannot be laid over the chart's.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// Values that are refused.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// An object that is no YAML.
    #[error("{kind} {name} cannot be shown: {cause}")]
    Shown {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        cause: serde_yaml_ng::Error,
    },
    /// Standard output.
    #[error("printing the objects: {0}")]
    Output(#[from] io::Error),
}

/// A name that a namespace can have (RFC 1123 label).
fn namespace(text: &str) -> Result<String, String> {
    let fits =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    if (1..=63).contains(&text.len())
        && text.chars().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
    {
        return Ok(text.to_owned());
    }
    Err("write a name of lower-case letters, digits and dashes, at most 63".to_owned())
}

/// Everything, to be applied: at the first time, or over an older version.
pub(super) fn install(
    arguments: &InstallArguments,
    format: Format,
    to: &mut impl Write,
) -> Result<(), InstallError> {
    let (values, release) = chosen(arguments)?;
    print(&documents(&values, &release)?, format, to)
}

/// What takes every node out of the mesh; with `objects`, what is to be deleted then.
pub(super) fn uninstall(
    arguments: &UninstallArguments,
    format: Format,
    to: &mut impl Write,
) -> Result<(), InstallError> {
    let (mut values, release) = chosen(&arguments.installed)?;
    lay_over(&mut values, &json!({ "uninstall": true }));
    let mut documents = documents(&values, &release)?;
    if arguments.objects {
        let keep = values["crds"]["keep"] == json!(true);
        documents.retain(|document| !(keep && document.kind == "CustomResourceDefinition"));
        // What others depend on goes last, the namespace after everything; before it what the controller has made, when
        // no controller is left that could make it again.
        documents.reverse();
        let namespace = documents.iter().position(|document| document.kind == "Namespace");
        let last = namespace.unwrap_or(documents.len());
        documents.splice(last..last, by_controller(&release));
    } else {
        documents.retain(|document| document.kind == "DaemonSet");
    }
    print(&documents, format, to)
}

fn chosen(arguments: &InstallArguments) -> Result<(Value, Release), InstallError> {
    let mut values = defaults();
    // Who applies objects by hand has nobody else who makes the namespace.
    lay_over(&mut values, &json!({ "namespace": { "create": true } }));
    for path in &arguments.files {
        let text = if path.as_os_str() == "-" {
            io::read_to_string(io::stdin())
        } else {
            std::fs::read_to_string(path)
        };
        let text = text.map_err(|cause| InstallError::File { path: path.clone(), cause })?;
        lay_over(&mut values, &read_values(&text, &path.display().to_string())?);
    }
    for assignment in &arguments.assignments {
        lay_over(&mut values, &assignment.values());
    }
    Ok((values, Release { namespace: arguments.namespace.clone(), ..Release::default() }))
}

/// As YAML with its comments, or as a `List` in JSON.
fn print(documents: &[Document], format: Format, to: &mut impl Write) -> Result<(), InstallError> {
    if format != Format::Json {
        for document in documents {
            write!(to, "---\n{}", document.text)?;
        }
        return Ok(());
    }
    let mut items: Vec<Value> = Vec::with_capacity(documents.len());
    for document in documents {
        items.push(serde_yaml_ng::from_str(&document.text).map_err(|cause| InstallError::Shown {
            kind: document.kind.clone(),
            name: document.name.clone(),
            cause,
        })?);
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    serde_json::to_writer_pretty(&mut *to, &list).map_err(io::Error::from)?;
    Ok(to.write_all(b"\n")?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::Value;

    use super::super::{Arguments, Command};
    use super::{Format, InstallError, install, uninstall};

    /// What a command prints.
    fn printed(words: &[&str], format: Format) -> Result<String, InstallError> {
        let arguments = Arguments::try_parse_from([&["meshctl"], words].concat()).unwrap();
        let mut text = Vec::new();
        match &arguments.command {
            Command::Install(chosen) | Command::Upgrade(chosen) => install(chosen, format, &mut text)?,
            Command::Uninstall(chosen) => uninstall(chosen, format, &mut text)?,
            other => panic!("{other:?}"),
        }
        Ok(String::from_utf8(text).unwrap())
    }

    fn kinds(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect()
    }

    #[test]
    fn upgrading_prints_what_installing_prints_and_json_is_the_same_objects() {
        let set = ["--set", "controller.log=debug", "-n", "elsewhere"];
        let installed = printed(&[&["install"], &set[..]].concat(), Format::Table).unwrap();
        assert_eq!(printed(&[&["upgrade"], &set[..]].concat(), Format::Yaml).unwrap(), installed);
        assert!(
            installed.contains("value: \"debug\"") && installed.contains("name: \"elsewhere\""),
            "{installed}"
        );
        let list = printed(&[&["install"], &set[..]].concat(), Format::Json).unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        let items = list["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap());
        assert_eq!(items.collect::<Vec<_>>(), kinds(&installed));
    }

    #[test]
    fn values_of_files_come_before_single_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        std::fs::write(&path, "images: {tag: v1, repository: r.example}\n").unwrap();
        let words = ["install", "-f", path.to_str().unwrap(), "--set", "images.tag=v2"];
        assert!(printed(&words, Format::Table).unwrap().contains("image: r.example/mesh-agent:v2\n"));
        let error = printed(&["install", "--set", "images.tga=v2"], Format::Table).unwrap_err().to_string();
        assert!(error.contains("images") && error.contains("tga"), "{error}");
    }

    #[test]
    fn nodes_are_let_go_of_first_and_the_rest_is_deleted_from_behind() {
        assert_eq!(kinds(&printed(&["uninstall"], Format::Table).unwrap()), ["DaemonSet"]);
        let objects = printed(&["uninstall", "--objects"], Format::Table).unwrap();
        let (kinds_of_all, definition) = (kinds(&objects), "CustomResourceDefinition");
        assert!(kinds_of_all.contains(&definition));
        assert_eq!(kinds_of_all[kinds_of_all.len() - 4..], ["Secret", "ConfigMap", "Lease", "Namespace"]);
        let elsewhere = ["uninstall", "--objects", "-n", "kube-system", "--set", "namespace.create=false"];
        let elsewhere = printed(&elsewhere, Format::Table).unwrap();
        assert!(
            elsewhere
                .ends_with("kind: Lease\nmetadata:\n  name: mesh-control\n  namespace: \"kube-system\"\n")
        );
        let kept = printed(&["uninstall", "--objects", "--set", "crds.keep=true"], Format::Table).unwrap();
        assert!(!kinds(&kept).contains(&definition));
    }
}
