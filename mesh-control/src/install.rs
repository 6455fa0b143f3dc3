//! Installation on a cluster: the objects of the chart, rendered without Helm.
//!
//! The chart in `deploy/chart` is the one place where they stand. Its templates are embedded here, and [`template`]
//! understands the part of Helm's language that they use, and nothing else: whatever it does not know is an error, so
//! that `meshctl install` never gives other objects than `helm template`. `deploy/install.yaml`, the custom resource
//! definitions in `deploy/` and `values.schema.json` are written from here ([`generated`]) by `cargo xtask crds`; a test
//! compares them.

mod chart;
mod definitions;
mod fields;
mod made;
mod overlay;
mod render;
mod template;
#[cfg(test)]
mod tests;
mod values;
mod yaml;

pub use definitions::DefinitionError;
pub use made::by_controller;
pub use overlay::{Assignment, OverlayError, defaults, lay_over, read as read_values};
pub use render::{Document, Release, RenderError, documents, render};
pub use template::TemplateError;
pub use values::{Values, ValuesError};

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Why a file of `deploy/` cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A definition.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// An object.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The schema.
    #[error("the schema of the values cannot be written: {0}")]
    Schema(#[from] serde_json::Error),
}

/// Every file of `deploy/` that is made from types or rendered from the chart, by its path below the workspace's root.
///
/// # Errors
/// When a template and the values do not go together, which a test would have shown.
pub fn generated() -> Result<BTreeMap<String, String>, GenerateError> {
    let mut files = BTreeMap::new();
    for definition in definitions::all()? {
        files.insert(format!("deploy/crds/{}.yaml", definition.plural), definition.plain());
        files.insert(format!("deploy/chart/{}", definition.template_path()), definition.template());
    }
    files.insert(format!("deploy/chart/{}", fields::PATH), fields::template()?);
    let schema = serde_json::to_string_pretty(&values::schema())? + "\n";
    files.insert("deploy/chart/values.schema.json".to_owned(), schema);
    let mut values = defaults();
    lay_over(&mut values, &json!({ "namespace": { "create": true } }));
    files.insert("deploy/install.yaml".to_owned(), manifest(&values, &Release::default())?);
    Ok(files)
}

/// All objects as one stream of YAML, in an order in which they can be applied.
///
/// # Errors
/// When the values are refused or a template does not go with them.
pub fn manifest(values: &Value, release: &Release) -> Result<String, RenderError> {
    let documents = documents(values, release)?;
    let head =
        "# The mesh, as `meshctl install` renders it. What is chosen here: deploy/chart/values.yaml.\n";
    Ok(documents.iter().fold(head.to_owned(), |text, document| text + "---\n" + &document.text))
}
