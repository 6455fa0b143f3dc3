//! The custom resource definitions, as plain YAML and as templates of the chart.
//!
//! As templates and not in a chart's `crds/`, which Helm never touches after the first installation: an upgrade must
//! bring new fields. Gateway API's definitions are never among them: they belong to the cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::yaml;

/// Why a definition cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// It cannot be written.
    #[error("the definition of {plural} cannot be written: {cause}")]
    Json {
        /// Whose.
        plural: String,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
    /// It does not begin as definitions do.
    #[error(
        "the definition of {plural} does not begin with its name; see mesh-control/src/install/definitions.rs"
    )]
    Head {
        /// Whose.
        plural: String,
    },
    /// Helm would take a part of it for its own.
    #[error(
        "the definition of {plural} contains `{{{{`, which Helm would take for its own; word it otherwise"
    )]
    Braces {
        /// Whose.
        plural: String,
    },
}

/// One definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    /// The plural of its kind.
    pub(super) plural: String,
    /// `apiVersion`, `kind` and the name.
    head: String,
    /// `spec`.
    body: String,
}

/// Begins what is written from the types.
pub(super) const WRITTEN: &str = "# Written by `cargo xtask crds` from mesh-control/api/src/crd.\n";

/// What the chart adds to `metadata`.
const METADATA: &str = r#"  labels:
    {{- include "mesh.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"#;

impl Definition {
    fn of(definition: &CustomResourceDefinition) -> Result<Self, DefinitionError> {
        let plural = definition.spec.names.plural.clone();
        let value = serde_json::to_value(definition)
            .map_err(|cause| DefinitionError::Json { plural: plural.clone(), cause })?;
        let text = yaml::write(&value) + "\n";
        if text.contains("{{") {
            return Err(DefinitionError::Braces { plural });
        }
        match text.split_once("\nspec:\n") {
            Some((head, body)) if head.contains("\nmetadata:\n  name: ") => {
                Ok(Self { head: format!("{head}\n"), body: format!("spec:\n{body}"), plural })
            }
            _ => Err(DefinitionError::Head { plural }),
        }
    }

    /// For `kubectl apply`.
    pub(super) fn plain(&self) -> String {
        format!("{WRITTEN}{}{}", self.head, self.body)
    }

    /// For the chart.
    pub(super) fn template(&self) -> String {
        let Self { head, body, .. } = self;
        format!("{{{{- if .Values.crds.install }}}}\n{WRITTEN}{head}{METADATA}{body}{{{{- end }}}}\n")
    }

    /// Where the chart has it.
    pub(super) fn template_path(&self) -> String {
        format!("templates/crd-{}.yaml", self.plural)
    }
}

/// Every definition of the mesh.
///
/// # Errors
/// When one cannot be written.
pub(super) fn all() -> Result<Vec<Definition>, DefinitionError> {
    mesh_api::crd::definitions().iter().map(Definition::of).collect()
}
