//! The chart's files, embedded.

/// A template of the chart that is written by hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Template {
    /// Its path in the chart.
    pub(super) path: &'static str,
    /// Its text.
    pub(super) text: &'static str,
}

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        [$(Template {
            path: concat!("templates/", $name),
            text: include_str!(concat!("../../../deploy/chart/templates/", $name)),
        }),*]
    };
}

/// What only names parts for the others.
pub(super) const PARTS: [Template; 3] = templates!["_names.tpl", "_wire.tpl", "_relay.tpl"];

/// What comes before the custom resource definitions, in the order in which it is applied.
pub(super) const FIRST: [Template; 1] = templates!["namespace.yaml"];

/// What comes after them.
pub(super) const THEN: [Template; 6] = templates![
    "controller-rights.yaml",
    "agent-account.yaml",
    "users.yaml",
    "controller.yaml",
    "agent.yaml",
    "admission.yaml",
];

/// `Chart.yaml`.
pub(super) const CHART: &str = include_str!("../../../deploy/chart/Chart.yaml");

/// `values.yaml`.
pub(super) const VALUES: &str = include_str!("../../../deploy/chart/values.yaml");
