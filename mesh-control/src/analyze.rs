//! `meshctl analyze`: what the controller would say of manifests, before anybody applies them.
//!
//! Nothing is asked: the texts are read as a directory's files are ([`source`](crate::source)), built as the controller
//! builds ([`build`](crate::build)), and what comes of that is told with file and line. [`input`] reads the texts;
//! [`workloads`] writes out the pods of Deployments and their like; [`rules`] says how grave a condition is; [`locate`]
//! finds a field's line; [`snat`] warns of address ranges that see no client; [`mod@sarif`] writes the findings for tools.

mod input;
mod locate;
mod rules;
mod sarif;
mod snat;
#[cfg(test)]
mod tests;
mod workloads;

use std::collections::BTreeSet;

use mesh_api::condition::{ACCEPTED, Condition, ConditionStatus};
use serde::Serialize;

pub use input::{InputError, read};
pub use rules::Level;
pub use sarif::sarif;

use crate::{
    build::{Builder, judge},
    objects::ObjectRef,
    source::given::{self, Document, Given, Unparsable},
};
use rules::{Rule, UNPARSABLE, rule_of};

/// Texts to be looked at.
#[derive(Debug, Clone, Default)]
pub struct Input(Vec<Given>);

/// What was found in manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Analysis {
    /// How many texts were read.
    pub files: usize,
    /// How many objects they have.
    pub objects: usize,
    /// What is to be said, in the order of files and lines.
    pub findings: Vec<Finding>,
}

/// Something to be said of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The text's name: its path, or `-`.
    pub file: String,
    /// The line, from 1: that of the field where it can be told, else that on which the document begins.
    pub line: usize,
    /// How grave it is.
    pub level: Level,
    /// Which rule: a name that stays.
    pub rule: &'static str,
    /// What it is about: `KIND/NAMESPACE/NAME`; nothing for a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The field, as far as one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Field, value and what to do.
    pub message: String,
}

impl Analysis {
    /// How many findings are of a level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// Whether there is a document that could not be read, so that others may be judged wrongly.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.findings.iter().any(|finding| finding.rule == UNPARSABLE.id)
    }
}

/// Looks at texts.
#[must_use]
pub fn analyze(Input(given): &Input) -> Analysis {
    let (documents, unparsable) = given::documents(given, workloads::pod);
    let (objects, problems) = given::objects(&documents);
    let mut findings: BTreeSet<Finding> = unparsable.iter().map(of_unparsable).collect();
    let judged = judge(&objects);
    for problem in &judged {
        let rule = rule_of(ACCEPTED, problem.reason, &problem.object);
        findings.extend(rule.map(|rule| found(&documents, &problem.object, rule, &problem.message)));
    }
    for warning in snat::hidden_clients(&objects) {
        let rule = &rules::SNAT_HIDES_CLIENT;
        findings.insert(found(&documents, &warning.object, rule, &warning.message));
    }
    let built = Builder::default().update(objects);
    for (object, conditions) in built.conditions.iter().chain(&problems) {
        // Told already, one problem at a time.
        let is_told = judged.iter().any(|problem| problem.object == *object);
        for condition in conditions.iter().filter(|condition| !(is_told && condition.kind == ACCEPTED)) {
            findings.extend(of_condition(&documents, object, condition));
        }
    }
    let objects = documents.iter().map(|document| document.objects().count()).sum();
    Analysis { files: given.len(), objects, findings: findings.into_iter().collect() }
}

fn of_unparsable(document: &Unparsable) -> Finding {
    Finding {
        file: document.file.clone(),
        // What lacks an end is told behind it.
        line: document.line
            + locate::line_in(&document.cause).map_or(0, |line| (line - 1).min(document.lines - 1)),
        level: UNPARSABLE.level,
        rule: UNPARSABLE.id,
        object: None,
        field: None,
        message: format!("the document that begins on line {}: {}", document.line, document.cause),
    }
}

fn of_condition(documents: &[Document], object: &ObjectRef, condition: &Condition) -> Vec<Finding> {
    let is_bad = (condition.status == ConditionStatus::True) == rules::is_bad_when_true(&condition.kind);
    let Some(rule) = rule_of(&condition.kind, &condition.reason, object).filter(|_| is_bad) else {
        return Vec::new();
    };
    rules::parts(&condition.kind, &condition.message)
        .into_iter()
        .map(|message| found(documents, object, rule, message))
        .collect()
}

/// A finding, with the place where the object says what it is about.
fn found(documents: &[Document], object: &ObjectRef, rule: &'static Rule, message: &str) -> Finding {
    let is_file = object.kind == "File";
    let document = documents.iter().find(|document| {
        document.objects().any(|own| own == object) && (!is_file || document.file == object.name.name)
    });
    let path = document.and_then(|document| locate::path(message, &document.value));
    let line = document.map_or(1, |document| {
        document.line
            + path
                .as_deref()
                .map_or_else(|| locate::begins(&document.text), |path| locate::line(&document.text, path))
    });
    let message = match rule.note {
        Some(note) => format!("{message}; {note}"),
        None => message.to_owned(),
    };
    Finding {
        file: document.map_or_else(|| object.name.name.clone(), |document| document.file.clone()),
        line,
        level: rule.level,
        rule: rule.id,
        object: (!is_file).then(|| object.to_string()),
        field: path.as_deref().map(locate::text),
        message,
    }
}
