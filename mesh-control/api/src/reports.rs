//! What agents tell the controller of their pods, generated from `proto/reports.proto`.

pub use crate::resources::generated::{
    PodReport, PodReports, PodReportsTaken,
    node_reports_client::NodeReportsClient,
    node_reports_server::{NodeReports, NodeReportsServer},
    pod_report::State as PodReportState,
};
