//! `meshctl ca`: the controller's certificate authority.

use super::client::{Socket, encode};
use super::output::View;
use super::{CaCommand, CliError, Outcome};
use crate::ca::{CaReport, JoinReport, Phase};

/// Asks the controller, or has it do what is wanted.
pub(super) async fn ca(controller: &Socket, command: &CaCommand) -> Result<(View, Outcome), CliError> {
    match command {
        CaCommand::Status => Ok(shown(&controller.get("/ca").await?)),
        CaCommand::Rotate => Ok(shown(&controller.post("/ca/rotate").await?)),
        CaCommand::Join { node } => {
            let join: JoinReport = controller.post(&format!("/join?node={}", encode(node))).await?;
            let text = format!(
                "Node {} may join once with {} until {}; its agent takes the file by itself.\n",
                join.node, join.file, join.expires
            );
            Ok((View::new(&join, text), Outcome::Yes))
        }
    }
}

fn shown(report: &CaReport) -> (View, Outcome) {
    let outcome = if report.problem.is_none() { Outcome::Yes } else { Outcome::No };
    (View::new(report, text(report)), outcome)
}

fn text(report: &CaReport) -> String {
    let rotation = match report.phase {
        Phase::Stable => "none under way".to_owned(),
        Phase::Distributing => format!("since {}: nodes are told of the new root", report.phase_since),
        Phase::Reissuing => format!("since {}: certificates are issued anew", report.phase_since),
    };
    let lines = [
        ("Trust domain", report.trust_domain.clone()),
        ("Authority", format!("{}, generation {}", report.origin, report.generation)),
        ("Issuer", format!("{}, until {}", report.issuer_key_id, report.issuer_expires)),
        ("Root", format!("until {}; {} believed", report.root_expires, report.roots)),
        ("Rotation", rotation),
        ("Certificates", format!("{} live", report.live)),
    ];
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect();
    for waited in &report.waiting_for {
        text.push_str(&format!("Waiting for   {waited}\n"));
    }
    for revoked in &report.revoked {
        text.push_str(&format!("Revoked       node {} until {}\n", revoked.node, revoked.until));
    }
    for node in &report.joining {
        text.push_str(&format!("Joining       node {node} has a join file and has not used it\n"));
    }
    if report.tokens_not_asked > 0 {
        text.push_str(&format!(
            "Not asked     the API server about {} tokens of joining agents: more came than it is asked about\n",
            report.tokens_not_asked
        ));
    }
    if let Some(problem) = &report.problem {
        text.push_str(&format!("Problem       {problem}\n"));
    }
    text
}
