//! The API group and every label and annotation key of the mesh, defined once.

/// The API group of the mesh's own kinds. `.internal` is reserved for private use.
pub const GROUP: &str = "mesh.internal";

/// The `apiVersion` of the mesh's own kinds.
pub const API_VERSION: &str = "mesh.internal/v1alpha1";

/// Label on a namespace or a pod that enrols it ([`MODE_ENABLED`]) or keeps it out
/// ([`MODE_DISABLED`]); the pod's own label wins.
pub const MODE: &str = "mesh.internal/mode";

/// Value of [`MODE`] that enrols.
pub const MODE_ENABLED: &str = "enabled";

/// Value of [`MODE`] that keeps out.
pub const MODE_DISABLED: &str = "disabled";

/// Taint that a node may be registered with, so that no pod comes to it before the mesh does: the
/// controller takes it off when the node's agent is ready.
pub const NOT_READY: &str = "mesh.internal/agent-not-ready";
