//! The answer for people.

use std::net::SocketAddr;

use super::super::output::{cell, table};
use super::super::{CanArguments, Outcome};
use super::{Can, Judged, Request, Rule, outcome};

pub(super) fn text(arguments: &CanArguments, can: &Can) -> String {
    let dialled = SocketAddr::new(can.destination, can.port);
    let mut text = format!("{} -> {}", arguments.source, arguments.destination);
    if let (Some(method), Some(target)) = (&arguments.method, &arguments.target) {
        text.push_str(&format!(" {method} {target}"));
    }
    text.push_str(&format!(" ({dialled}/{}): {}\n", can.protocol, verdict(can)));
    if !can.service.is_empty() {
        text.push_str(&format!("Service {}\n", can.service));
    }
    if !can.reason.is_empty() {
        text.push_str(&format!("{}: {}\n", can.reason, can.explanation));
    }
    text.push_str(&routes(can));
    if !can.endpoints.is_empty() || can.answers.is_empty() {
        text.push_str(&endpoints(can));
    }
    let mut told: Vec<&str> = Vec::new();
    for judged in can.endpoints.iter().filter(|judged| !judged.explanation.is_empty()) {
        if !told.contains(&judged.reason.as_str()) {
            told.push(&judged.reason);
            text.push_str(&format!("{}: {}\n", judged.reason, judged.explanation));
        }
    }
    for audit in can.endpoints.iter().filter_map(|judged| judged.audit.as_ref()) {
        text.push_str(&format!("Audit: {} would deny it\n", rule(Some(audit))));
    }
    let mut rules: Vec<String> = Vec::new();
    for depends in can.endpoints.iter().flat_map(|judged| &judged.depends_on) {
        let depends = rule(Some(depends));
        if !rules.contains(&depends) {
            rules.push(depends);
        }
    }
    if !rules.is_empty() {
        text.push_str(&format!(
            "It depends on the request: rules {}; ask with METHOD PATH\n",
            rules.join(", ")
        ));
    }
    for unanswered in can.endpoints.iter().filter_map(|judged| judged.unanswered.as_ref()) {
        text.push_str(&format!("{unanswered}\n"));
    }
    text
}

fn verdict(can: &Can) -> &'static str {
    let answered = can.answers.iter().any(|answer| !answer.refused);
    let allowed = answered || can.endpoints.iter().any(|judged| judged.allowed);
    match outcome(can) {
        Outcome::Yes => "allowed",
        Outcome::Unknown if can.endpoints.iter().any(|judged| judged.unanswered.is_some()) => {
            "not judged, a node does not answer"
        }
        Outcome::Unknown => "depends on the request",
        Outcome::No if allowed => "denied in part",
        Outcome::No if can.endpoints.is_empty() && !can.answers.is_empty() => "refused",
        Outcome::No => "denied",
    }
}

/// What routes make of it, and what is answered without an endpoint.
fn routes(can: &Can) -> String {
    let mut text = String::new();
    if !can.route.is_empty() {
        text.push_str(&format!("Route {} {}\n", can.route, can.route_rule));
    } else if can.request.is_none() && can.routed == "by request" && can.answers.is_empty() {
        text.push_str(
            "Routes decide by request where it goes: these are the endpoints of the Service itself; ask with METHOD PATH\n",
        );
    } else if can.routed == "by server name" {
        text.push_str("Routes decide by the server name of TLS where it goes\n");
    }
    let mut forms: Vec<String> = Vec::new();
    for sent in can.endpoints.iter().filter_map(|judged| judged.sent.as_ref()) {
        let form = form(sent);
        if can.request.as_ref().map(self::form).as_ref() != Some(&form) && !forms.contains(&form) {
            text.push_str(&format!("Sent as {form}\n"));
            forms.push(form);
        }
    }
    for answer in &can.answers {
        let share = match answer.backend.as_str() {
            "" => String::new(),
            backend => format!(" for {backend} (weight {})", answer.weight),
        };
        let detail = if answer.detail.is_empty() { &answer.explanation } else { &answer.detail };
        text.push_str(&format!("{}{share}: {} {detail}\n", answer.reason, answer.status));
    }
    text
}

fn form(request: &Request) -> String {
    format!("{} {} host {}", request.method, request.target, request.host)
}

fn endpoints(can: &Can) -> String {
    let routed = !can.route.is_empty();
    let rows: Vec<Vec<String>> = can.endpoints.iter().map(|judged| row(judged, routed)).collect();
    let mut head = vec!["ENDPOINT", "POD", "NODE", "VERDICT", "TRANSPORT", "EGRESS", "INGRESS", "REASON"];
    if routed {
        head.insert(0, "BACKEND");
        head.insert(1, "WEIGHT");
    }
    table(&head, &rows)
}

fn row(judged: &Judged, routed: bool) -> Vec<String> {
    let verdict = match (judged.allowed, &judged.unanswered) {
        (true, None) if judged.depends_on.is_empty() => "allowed",
        (true, None) => "depends",
        (true, Some(_)) => "not judged",
        (false, _) => "denied",
    };
    let mut row = vec![
        judged.address.to_string(),
        cell(&judged.pod),
        cell(&judged.node),
        verdict.to_owned(),
        cell(&judged.transport),
        rule(judged.egress.as_ref()),
        rule(judged.ingress.as_ref()),
        cell(&judged.reason),
    ];
    if routed {
        row.insert(0, cell(&judged.backend));
        row.insert(1, judged.weight.map(|weight| weight.to_string()).unwrap_or_default());
    }
    row
}

fn rule(rule: Option<&Rule>) -> String {
    match rule {
        Some(rule) if rule.policy.is_empty() => "(no policy)".to_owned(),
        Some(rule) => format!("{} {}", rule.policy, rule.rule),
        None => "-".to_owned(),
    }
}
