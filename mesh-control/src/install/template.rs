//! The part of Helm's template language that the chart uses: `if`, `range`, `with`, `define`, `include`, fields,
//! pipelines and a handful of functions.
//!
//! What is given is what Helm gives for the same text, byte for byte but for the form in which [`toYaml`](run) writes
//! maps. What is not known here is an error that names file and line, never passed over: a template that Helm reads
//! otherwise would install something else.
//!
//! | room | what happens there |
//! |---|---|
//! | [`split`] | text and actions, white space around them taken away |
//! | [`parse`] | actions to a tree |
//! | [`run`] | the tree with values to text |

mod parse;
mod run;
mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct TemplateError {
    /// The template's path in the chart.
    file: String,
    /// The line that the action begins in, from 1.
    line: usize,
    /// What is wrong.
    problem: String,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// What stands there.
    Text(String),
    /// What a pipeline gives.
    Output(Place, Pipeline),
    /// The first branch whose condition holds.
    If(Vec<(Place, Pipeline, Vec<Node>)>, Vec<Node>),
    /// Once for each element, which is the dot there.
    Range(Place, Pipeline, Vec<Node>),
    /// With the dot being that, unless it is empty.
    With(Place, Pipeline, Vec<Node>),
}

/// Where an action begins: its file and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    line: usize,
}

impl Place {
    fn error(&self, problem: impl Into<String>) -> TemplateError {
        TemplateError { file: self.file.clone(), line: self.line, problem: problem.into() }
    }
}

/// Calls; each gets what the one before it gives as its last argument.
#[derive(Debug, Clone, PartialEq)]
struct Pipeline(Vec<Call>);

/// A function and its arguments, or a single term.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    /// The function; none where a term stands alone.
    function: Option<String>,
    terms: Vec<Term>,
}

/// What can be an argument.
#[derive(Debug, Clone, PartialEq)]
enum Term {
    /// The dot, or a field of it.
    Field(Vec<String>),
    /// As written.
    Literal(Value),
    /// In parentheses.
    Group(Pipeline),
}

/// Named templates, and how to render others with them.
#[derive(Debug, Clone, Default)]
pub(super) struct Templates {
    named: BTreeMap<String, Vec<Node>>,
}

impl Templates {
    /// Reads a file: what it defines is known from then on; what else it says is given, to be rendered.
    ///
    /// # Errors
    /// When it is not understood, or defines a name twice.
    pub(super) fn read(&mut self, file: &str, text: &str) -> Result<Template, TemplateError> {
        let (nodes, named) = parse::file(file, text)?;
        for (place, name, body) in named {
            if self.named.insert(name.clone(), body).is_some() {
                return Err(place.error(format!("`{name}` is defined already")));
            }
        }
        Ok(Template(nodes))
    }

    /// Renders a template.
    ///
    /// # Errors
    /// When it does not go with the dot.
    pub(super) fn render(&self, template: &Template, dot: &Value) -> Result<String, TemplateError> {
        run::render(&self.named, &template.0, dot)
    }
}

/// A file that was read.
#[derive(Debug, Clone)]
pub(super) struct Template(Vec<Node>);
