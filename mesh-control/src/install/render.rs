//! The chart with values: the objects of the mesh.

use serde::Deserialize;
use serde_json::{Value, json};

use super::template::{TemplateError, Templates};
use super::values::{Values, ValuesError};
use super::{chart, definitions, fields};

/// Why there are no objects.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The user's values.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A definition.
    #[error(transparent)]
    Definition(#[from] definitions::DefinitionError),
    /// What a template gives is no object.
    #[error("{file} gives no object of Kubernetes: {problem}")]
    Object {
        /// The template.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What is installed where: Helm's word for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl Default for Release {
    fn default() -> Self {
        Self { name: "mesh".to_owned(), namespace: "mesh-system".to_owned() }
    }
}

/// One object, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The text, with its comments, up to and with the last line break.
    pub text: String,
}

/// What every object has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    kind: String,
    metadata: Named,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The version of the chart, as images are tagged by default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chart {
    name: String,
    version: String,
    app_version: String,
}

/// The objects, in an order in which they can be applied.
///
/// # Errors
/// When the values are refused, or a template does not go with them.
pub fn documents(values: &Value, release: &Release) -> Result<Vec<Document>, RenderError> {
    Values::read(values)?;
    render(values, release)
}

/// [`documents`] of values that nobody has looked at.
///
/// # Errors
/// When a template does not go with them.
pub fn render(values: &Value, release: &Release) -> Result<Vec<Document>, RenderError> {
    let chart: Chart = serde_yaml_ng::from_str(chart::CHART).expect("Chart.yaml is as a test reads it");
    let dot = json!({
        "Values": values,
        "Release": { "Name": release.name, "Namespace": release.namespace, "Service": "meshctl" },
        "Chart": { "Name": chart.name, "Version": chart.version, "AppVersion": chart.app_version },
    });
    let mut templates = Templates::default();
    for part in chart::PARTS {
        templates.read(part.path, part.text)?;
    }
    let written = |template: chart::Template| (template.path.to_owned(), template.text.to_owned());
    let definitions = definitions::all()?;
    let made = definitions.iter().map(|definition| (definition.template_path(), definition.template()));
    let files = chart::FIRST.into_iter().map(written).chain(made).chain(chart::THEN.into_iter().map(written));
    let files = files.chain([(fields::PATH.to_owned(), fields::template()?)]);
    let mut documents = Vec::new();
    for (file, text) in files {
        let template = templates.read(&file, &text)?;
        let text = templates.render(&template, &dot)?;
        for text in split(&text) {
            documents.push(document(&file, text)?);
        }
    }
    Ok(documents)
}

/// The documents of a YAML stream; those that say nothing are left out.
fn split(stream: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in stream.lines() {
        if line == "---" {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut().filter(|last| !(last.is_empty() && line.is_empty())) {
            last.push_str(line);
            last.push('\n');
        }
    }
    let says = |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    documents.into_iter().filter(|text| says(text)).map(|text| text.trim_end().to_owned() + "\n").collect()
}

fn document(file: &str, text: String) -> Result<Document, RenderError> {
    let head: Head = serde_yaml_ng::from_str(&text)
        .map_err(|error| RenderError::Object { file: file.to_owned(), problem: error.to_string() })?;
    Ok(Document { kind: head.kind, name: head.metadata.name, text })
}
