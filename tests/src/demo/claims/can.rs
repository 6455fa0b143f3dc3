//! The CLI's answer and the wire's, side by side.

use serde_json::Value;

use crate::demo::{
    Error,
    call::Call,
    evidence::Evidence,
    stage::{AUDITOR, CLERK, MAINFRAME, PodName, Stage, TELLER},
};

/// Who calls whom: a Service by namespace and name, and its port.
const CALLS: [(PodName, &str, &str, u16); 10] = [
    (TELLER, "bank", "ledger", 9000),
    (TELLER, "bank", "vault", 9100),
    (TELLER, "bank", "archive", 9300),
    (AUDITOR, "bank", "ledger", 9000),
    (CLERK, "bank", "archive", 9300),
    (TELLER, "shop", "catalog", 9200),
    (CLERK, "shop", "catalog", 9200),
    (CLERK, "bank", "vault", 9100),
    (MAINFRAME, "bank", "ledger", 9000),
    (MAINFRAME, "shop", "catalog", 9200),
];

pub(super) fn show(stage: &Stage, evidence: &mut Evidence) -> Result<(), Error> {
    for (from, namespace, service, port) in CALLS {
        let (source, target) = (from.to_string(), format!("svc/{namespace}/{service}:{port}"));
        evidence.did(format_args!("meshctl can {source} {target}"));
        let (answer, code) = stage.meshctl(&["can", &source, &target])?;
        let said = Said::read(&answer);
        let call = stage.call(from, &format!("{service}.{namespace}:{port}"), "-4")?;
        let (agrees, outcome) = match &call {
            Call::Answered(answer) => (said.allowed, format!("answered by {}", answer.host)),
            Call::Failed(failure) => {
                // Where it is refused tells how: the caller's side by an errno, the called one's by a RST, which
                // through the tunnel comes after the connection to the agent.
                let errno = match (said.decided_on_ingress, said.tunnelled) {
                    (true, true) => "ECONNRESET",
                    (true, false) => "ECONNREFUSED",
                    (false, _) => "EPERM",
                };
                (!said.allowed && failure.errno == errno, failure.to_string())
            }
        };
        let exit = code == Some(i32::from(!said.allowed));
        evidence.check(agrees && exit, format_args!("{}; the call is {outcome}", said.text));
    }
    Ok(())
}

/// The gist of an answer.
struct Said {
    allowed: bool,
    decided_on_ingress: bool,
    tunnelled: bool,
    text: String,
}

impl Said {
    fn read(answer: &Value) -> Self {
        let allowed = answer["allowed"] == true;
        let endpoint = &answer["endpoints"][0];
        let decided_on_ingress = endpoint["ingress"].is_object();
        let tunnelled = endpoint["transport"] == "tunnel";
        let rule = if decided_on_ingress { &endpoint["ingress"] } else { &endpoint["egress"] };
        let words = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let verdict = if allowed { "allowed" } else { "denied" };
        let audit = &endpoint["audit"]["policy"];
        let audit = audit.as_str().map(|policy| format!(" (audit: {policy} would deny)")).unwrap_or_default();
        let by = format!("{} {}", words(&rule["policy"]), words(&rule["rule"]));
        let by = if by.trim().is_empty() { "no policy".to_owned() } else { by };
        let through = if tunnelled { " through the tunnel" } else { "" };
        let reason = words(&endpoint["reason"]);
        let text = format!("{verdict}{through} {reason} by {by}{audit}").replace("  ", " ");
        Self { allowed, decided_on_ingress, tunnelled, text }
    }
}
